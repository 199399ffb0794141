"""Adds the security headers (CSP, HSTS, nosniff …) that a response lacks."""

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
        is_docs_page = scope["path"].startswith(("/docs", "/redoc"))
        security_headers = (*SECURITY_HEADERS, (b"content-security-policy", DOCS_CSP if is_docs_page else DEFAULT_CSP))
        if scope["scheme"] == "https":
            security_headers = (*security_headers, HSTS)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent_headers = message.get("headers", ())
                names = {name.lower() for name, _ in sent_headers}
                message = {
                    **message,
                    "headers": [*sent_headers, *(pair for pair in security_headers if pair[0] not in names)],
                }
            await send(message)

        await self._app(scope, receive, with_headers)
