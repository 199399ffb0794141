"""The doors of an app, hung around its routes in one place: guard, security headers, CORS; it lists no route."""

import time
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from mlplatform.auth.rate_limit import Throttle
from mlplatform.serve.middleware.auth_middleware import FAILURES, FAILURES_PER_SECOND, Guard, Terms
from mlplatform.serve.middleware.scopes import needed
from mlplatform.serve.middleware.security_headers import Headers
from mlplatform.serve.state import Server
from mlplatform.settings import LOOPBACK, Settings

LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SCHEMES: Final[dict[str, dict[str, str]]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `platform keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "password": {"type": "http", "scheme": "basic", "description": "Any user, the API key as password."},
}


def install_doors(app: FastAPI, server: Server) -> None:
    """Put the doors around the app; call it after every other middleware, so that they are outermost."""
    settings = server.parts.settings
    terms = Terms(
        keyring=server.keyring if settings.asks_for_keys else None,
        throttle=_throttle(settings),
        hosts=hosts_of(settings),
        origins=frozenset(settings.cors_origins),
        clock=server.parts.clock,
        failures=Throttle(FAILURES_PER_SECOND, FAILURES, time.monotonic),
        refused=lambda status: server.metrics.requests.labels("refused", str(status)).inc(),
    )
    app.add_middleware(Guard, terms=terms)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["retry-after", "ratelimit", "ratelimit-policy"],
            max_age=600,
        )
    app.add_middleware(Headers)
    if settings.asks_for_keys:
        _describe(app)


def hosts_of(settings: Settings) -> frozenset[str]:
    """The names a request may be meant for; none means any. Local ones are no harm: no other site can have them.

    A server on loopback that asks for no key answers to local names only: else a page of another site could have its
    own name lead here (DNS rebinding), and read everything.
    """
    given = frozenset(name.lower() for name in settings.allowed_hosts)
    if given:
        return given | LOCAL_NAMES
    if settings.asks_for_keys or settings.host not in LOOPBACK:
        return given
    public = urlsplit(settings.public_url).hostname
    return LOCAL_NAMES | ({public.lower()} if public else set())


def _throttle(settings: Settings) -> Throttle | None:
    if not settings.rate_limit:
        return None
    burst = settings.rate_burst or max(1, round(2 * settings.rate_limit))
    return Throttle(settings.rate_limit, burst, time.monotonic)


def _describe(app: FastAPI) -> None:
    """Say in OpenAPI which routes need a key, and with which scope."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        known = app.openapi_schema is not None
        schema = plain()
        if known:
            return schema
        schema.setdefault("components", {})["securitySchemes"] = SCHEMES
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                scopes = sorted(needed(method.upper(), path))
                if scopes:
                    operation["security"] = [{name: []} for name in SCHEMES]
                    operation["description"] = (
                        f"{operation.get('description', '')}\n\nScope: {' or '.join(scopes)}".strip()
                    )
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
