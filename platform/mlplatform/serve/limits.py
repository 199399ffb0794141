"""The body limit: a request that is too large is refused before it is read whole; it looks at no content."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlplatform.errors import TooLargeError
from mlplatform.serve.problems import problem


class BodyLimit:
    """ASGI middleware that answers 413 once more than `limit` bytes were announced or received."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit
        self._detail = f"the body is over {limit / 2**20:g} MiB (PLATFORM_MAX_BODY_MB); send fewer images"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limit:
            await self._refuse(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise TooLargeError(self._detail)
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem(413, "too-large", "The input is over a limit", self._detail)
        response.headers["Connection"] = "close"
        await response(scope, receive, send)
