"""The doors of an app, hung around its routes in one place: guard, security headers, CORS; it lists no route."""

import time
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from mlplatform.auth.rate_limit import RateLimiter
from mlplatform.serve.middleware.auth_middleware import FAILURE_BURST, FAILURES_PER_SECOND, AuthMiddleware, AuthPolicy
from mlplatform.serve.middleware.scopes import required_scopes
from mlplatform.serve.middleware.security_headers import SecurityHeadersMiddleware
from mlplatform.serve.state import ApiServer
from mlplatform.settings import LOOPBACK_HOSTS, Settings

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_SCHEMES: Final[dict[str, dict[str, str]]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `platform keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "password": {"type": "http", "scheme": "basic", "description": "Any user, the API key as password."},
}


def add_security(app: FastAPI, server: ApiServer) -> None:
    """Put the doors around the app; call it after every other middleware, so that they are outermost."""
    settings = server.context.settings
    terms = AuthPolicy(
        api_key_cache=server.api_key_cache if settings.requires_keys else None,
        rate_limiter=_build_rate_limiter(settings),
        hosts=allowed_hosts(settings),
        origins=frozenset(settings.cors_origins),
        clock=server.context.clock,
        failure_limiter=RateLimiter(FAILURES_PER_SECOND, FAILURE_BURST, time.monotonic),
        on_refused=lambda status: server.metrics.requests.labels("refused", str(status)).inc(),
    )
    app.add_middleware(AuthMiddleware, policy=terms)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "ratelimit", "ratelimit-policy"],
            max_age=600,
        )
    app.add_middleware(SecurityHeadersMiddleware)
    if settings.requires_keys:
        _document_security(app)


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The names a request may be meant for; none means any. Local ones are no harm: no other site can have them.

    A server on loopback that asks for no key answers to local names only: else a page of another site could have its
    own name lead here (DNS rebinding), and read everything.
    """
    given = frozenset(name.lower() for name in settings.allowed_hosts)
    if given:
        return given | LOCAL_HOSTS
    if settings.requires_keys or settings.host not in LOOPBACK_HOSTS:
        return given
    public = urlsplit(settings.public_url).hostname
    return LOCAL_HOSTS | ({public.lower()} if public else set())


def _build_rate_limiter(settings: Settings) -> RateLimiter | None:
    if not settings.rate_limit:
        return None
    burst = settings.rate_burst or max(1, round(2 * settings.rate_limit))
    return RateLimiter(settings.rate_limit, burst, time.monotonic)


def _document_security(app: FastAPI) -> None:
    """Say in OpenAPI which routes need a key, and with which scope."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        known = app.openapi_schema is not None
        schema = plain()
        if known:
            return schema
        schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                scopes = sorted(required_scopes(method.upper(), path))
                if scopes:
                    operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
                    operation["description"] = (
                        f"{operation.get('description', '')}\n\nScope: {' or '.join(scopes)}".strip()
                    )
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
