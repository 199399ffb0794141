"""The API server of the serve tests, to be asked by the client."""

from tests.mlplatform.serve.conftest import lite, one_thread, server, stocked

__all__ = ["lite", "one_thread", "server", "stocked"]
