"""A route that is documented like any other and called without FastAPI's machinery; it decides nothing.

The endpoint takes the request and returns a whole Response, so there is nothing for FastAPI to solve or to validate.
Where a route has dependencies (a guard, for example) it is called the usual way, so none is ever passed over.
"""

from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send


async def body_of(request: Request) -> bytes:
    """The whole body, read once. Raises ClientDisconnect where its sender went away."""
    receive, parts = request.receive, []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


class LeanRoute(APIRoute):
    """A route whose endpoint is `async (request) -> Response`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - as FastAPI's
        super().__init__(path, endpoint, **options)
        if not (self.dependencies or self.dependant.dependencies):
            self.app = self._lean

    async def _lean(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.endpoint(Request(scope, receive))
        await response(scope, receive, send)
