"""Shows problem documents as pages to browsers; programs, which do not ask for HTML, get them as JSON."""

from typing import Final

import orjson
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlplatform.serve.problem_details import PROBLEM_MEDIA_TYPE, accepts_html, unprefixed_path
from mlplatform.web.rendering import PAGE_HEADERS, error_page

_PROBLEM: Final = PROBLEM_MEDIA_TYPE.encode()
_REPLACED_HEADERS: Final = frozenset({b"content-type", b"content-length"})


class ErrorPageMiddleware:
    """ASGI middleware that turns the problem documents of what lies within it into pages, where HTML is accepted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        document = b""

        async def send_page(message: Message) -> None:
            nonlocal start, document
            if message["type"] == "http.response.start" and _becomes_page(scope, message):
                start = message
                return
            if start is None:
                await send(message)
                return
            document += message.get("body", b"")
            if not message.get("more_body", False):
                await _page(scope, start, document)(scope, receive, send)

        await self._app(scope, receive, send_page)


def _becomes_page(scope: Scope, start: Message) -> bool:
    if start["status"] < 400 or not accepts_html(scope):
        return False
    return any(name.lower() == b"content-type" and value == _PROBLEM for name, value in start["headers"])


def _page(scope: Scope, start: Message, document: bytes) -> HTMLResponse:
    problem = orjson.loads(document)
    page = error_page(unprefixed_path(scope), start["status"], problem["title"], problem["detail"])
    response = HTMLResponse(page, start["status"], PAGE_HEADERS)
    response.raw_headers += [pair for pair in start["headers"] if pair[0].lower() not in _REPLACED_HEADERS]
    return response
