"""Refuses requests whose body is over a size limit or compressed, before the body is kept whole.

A compressed body (gzip and the like) is refused: a few kilobytes may become gigabytes, and images are compressed
anyway.
"""

import asyncio
from contextlib import suppress
from typing import Final

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlplatform.errors import TooLargeError
from mlplatform.serve.problem_details import problem_response

DRAIN_SECONDS = 5.0
MAX_LENGTH_DIGITS: Final = 18
CLIENT_DISCONNECTED: Final = "mlplatform.left"
"""What a request's scope is marked with whose sender went away before its body was all there."""


class BodyLimitMiddleware:
    """ASGI middleware that answers 413 once more than `limit` bytes were announced or received.

    What a refused client still sends is thrown away for a while: closing at once would reset the connection, and
    the client would see a broken pipe instead of the answer.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes
        self._detail = f"the body is over {max_bytes / 2**20:g} MiB (PLATFORM_MAX_BODY_MB); send fewer images"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        content_encoding = content_length = b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                content_length = value
            elif name == b"content-encoding":
                content_encoding = value.strip().lower()
        if content_encoding not in (b"", b"identity"):
            encoding = content_encoding.decode("latin-1")[:40]
            detail = f"content-encoding {encoding!r} is not understood; send the body as it is (identity)"
            answer = problem_response(415, "unsupported-media", "The input is packed", detail, scope.get("path", ""))
            answer.headers["Accept-Encoding"] = "identity"  # RFC 9110, 12.5.3: what is taken
            await self._refuse(receive, send, answer, more=True)
            return
        if content_length.isdigit() and (
            len(content_length) > MAX_LENGTH_DIGITS or int(content_length) > self._max_bytes
        ):
            await self._refuse(receive, send, self._too_large(scope), more=True)
            return
        seen, more, started = 0, True, False

        async def counted() -> Message:
            nonlocal seen, more
            message = await receive()
            if more and message["type"] == "http.disconnect":
                scope[CLIENT_DISCONNECTED] = True
            seen += len(message.get("body", b""))
            more = message.get("more_body", False)
            if seen > self._max_bytes:
                raise TooLargeError(self._detail)
            return message

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if started or seen <= self._max_bytes:
                started = True
                await send(message)

        await self._app(scope, counted, unless_refused)
        if not started:  # whatever the app made of the error that `counted` raised
            await self._refuse(receive, send, self._too_large(scope), more=more)

    def _too_large(self, scope: Scope) -> JSONResponse:
        return problem_response(413, "too-large", "The input is over a limit", self._detail, scope.get("path", ""))

    async def _refuse(self, receive: Receive, send: Send, response: JSONResponse, *, more: bool) -> None:
        response.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while more:
                    more = (await receive()).get("more_body", False)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
