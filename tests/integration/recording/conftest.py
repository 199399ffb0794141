"""Fixtures of an API server in this process."""

from tests.support.api_server import address, client, flaky, lite, server, stocked  # noqa: F401
