"""Fixtures of an API server in this process."""

from tests.support.api_server import (  # noqa: F401
    address,
    client,
    flaky,
    lite,
    server,
    shared_client,
    shared_server,
    stocked,
)
