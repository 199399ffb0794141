"""The headers that every answer carries, so that a browser does no more with it than it should; it reads no answer."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_CSP: Final = b"default-src 'none'; frame-ancestors 'none'"
DOCS_CSP: Final = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; worker-src blob:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, forms would say that they come from nowhere
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cache-control", b"no-store"),
)
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeadersMiddleware:
    """ASGI middleware that adds what an answer lacks; what a route set itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        docs = scope["path"].startswith(("/docs", "/redoc"))
        wanted = (*SECURITY_HEADERS, (b"content-security-policy", DOCS_CSP if docs else DEFAULT_CSP))
        if scope["scheme"] == "https":
            wanted = (*wanted, HSTS)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                names = {name.lower() for name, _ in given}
                message = {**message, "headers": [*given, *(pair for pair in wanted if pair[0] not in names)]}
            await send(message)

        await self._app(scope, receive, with_headers)
