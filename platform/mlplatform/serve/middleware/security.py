"""Sets up authentication, allowed hosts and CORS from the settings, and documents them in OpenAPI."""

import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI

from mlplatform.access_settings import LOOPBACK_HOSTS
from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.auth.rate_limit import RateLimiter
from mlplatform.auth.sessions import Sessions
from mlplatform.clock import Clock
from mlplatform.serve.middleware.auth_middleware import FAILURE_BURST, FAILURES_PER_SECOND, AuthPolicy
from mlplatform.serve.middleware.scope_rules import required_scopes
from mlplatform.serve.middleware.session_auth import SessionAuth
from mlplatform.serve.session_cookies import session_cookies
from mlplatform.settings import Settings

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_SCHEMES: Final[dict[str, dict[str, str]]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `platform keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "password": {"type": "http", "scheme": "basic", "description": "Any user, the API key as password."},
}


def auth_policy(
    settings: Settings,
    api_key_cache: ApiKeyCache,
    sessions: Sessions | None,
    clock: Clock,
    on_refused: Callable[[int], None],
) -> AuthPolicy:
    """Who is let in, by the settings; `on_refused` is called with the status of each refusal."""
    return AuthPolicy(
        model=settings.model_name,
        api_key_cache=api_key_cache if settings.requires_keys else None,
        rate_limiter=_build_rate_limiter(settings),
        hosts=allowed_hosts(settings),
        origins=frozenset(settings.cors_origins),
        clock=clock,
        sessions=None
        if sessions is None
        else SessionAuth(sessions, session_cookies(settings), api_key_cache.is_ended, settings.root_path),
        failure_limiter=RateLimiter(FAILURES_PER_SECOND, FAILURE_BURST, time.monotonic),
        on_refused=on_refused,
    )


def cors_options(settings: Settings) -> dict[str, Any]:
    """What Starlette's CORS middleware is given: which pages may call this server."""
    return {
        "allow_origins": list(settings.cors_origins),
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["authorization", "content-type", "x-api-key", "x-request-id"],
        "expose_headers": ["retry-after", "ratelimit", "ratelimit-policy"],
        "max_age": 600,
    }


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The names a request may be meant for; none means any. Local ones are no harm: no other site can have them.

    A server on loopback that asks for no key answers to local names only: else a page of another site could have its
    own name lead here (DNS rebinding), and read everything.
    """
    named_hosts = frozenset(name.lower() for name in settings.allowed_hosts)
    if named_hosts:
        return named_hosts | LOCAL_HOSTS
    if settings.requires_keys or settings.host not in LOOPBACK_HOSTS:
        return named_hosts
    public = urlsplit(settings.public_url).hostname
    return LOCAL_HOSTS | ({public.lower()} if public else set())


def _build_rate_limiter(settings: Settings) -> RateLimiter | None:
    if not settings.rate_limit:
        return None
    burst = settings.rate_burst or max(1, round(2 * settings.rate_limit))
    return RateLimiter(settings.rate_limit, burst, time.monotonic)


def document_security(app: FastAPI) -> None:
    """Say in OpenAPI which routes need a key, and with which scope."""
    without_security = app.openapi

    def openapi() -> dict[str, Any]:
        is_built = app.openapi_schema is not None
        schema = without_security()
        if is_built:
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
