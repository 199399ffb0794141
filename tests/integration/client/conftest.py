"""The API server of the serve tests, to be asked by the client."""

from tests.support.api_server import lite, server, stocked

__all__ = ["lite", "server", "stocked"]
