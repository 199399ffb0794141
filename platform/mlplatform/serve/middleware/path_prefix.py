"""The path prefix under which a proxy shows the server: cut off for the doors, put back for links; it routes nothing.

A proxy may cut the prefix off or leave it. Everything between the two middlewares sees plain paths.
"""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mlplatform.serve.problem_details import UNPREFIXED_PATH


class StripPrefixMiddleware:
    """ASGI middleware for outside of all others."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path == self._prefix:  # links of a page are relative to its folder
                await RedirectResponse(f"{self._prefix}/", 308)(scope, receive, send)
                return
            path = path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/") else path
            scope = {**scope, "path": path, UNPREFIXED_PATH: path, "root_path": self._prefix}
        await self._app(scope, receive, send)


class RestorePrefixMiddleware:
    """ASGI middleware for inside of all others: what ASGI says a path is below a prefix."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = self._prefix + scope["path"]
        await self._app(scope, receive, send)
