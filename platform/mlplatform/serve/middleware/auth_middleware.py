"""Authenticates, authorises and rate-limits requests; one that may not pass is answered here.

Everything is decided from method, path and headers, before a body is read, and from memory: no database is asked on
the way. A path that `scope_rules` does not name is closed to all but admins, so a new route is never open by accident.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mlplatform.auth import api_key
from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.auth.caller import ANONYMOUS, CALLER_SCOPE_KEY, Caller, scopes_for
from mlplatform.auth.rate_limit import RateDecision, RateLimiter, client_network
from mlplatform.clock import Clock
from mlplatform.errors import StoreUnavailableError
from mlplatform.scopes import granted_models
from mlplatform.serve.middleware.scope_rules import (
    AUDIT_SCOPES,
    KEY_SIGN_IN_PATH,
    MUTATING_GETS,
    SAFE_METHODS,
    SIGN_IN_PATH,
    Reach,
    is_api,
    model_reach,
    required_scopes,
)
from mlplatform.serve.middleware.session_auth import SessionAuth
from mlplatform.serve.problem_details import (
    REALM,
    accepts_html,
    cross_site_problem,
    duplicate_header_problem,
    forbidden_problem,
    problem_response,
    session_problem,
    wrong_host_problem,
)

log = logging.getLogger(__name__)
AWAY: Final = ("store-unavailable", "The database is away")
UNKNOWN_KEY_WAIT_SECONDS: Final = 1.0
"""How long a request with an unknown key waits for the keys to be read again: it may have been made just now."""
FAILURES_PER_SECOND: Final = 0.5
FAILURE_BURST: Final = 20
"""So many requests without a good key are told so at once; more are slowed down."""


@dataclass(frozen=True)
class AuthPolicy:
    """What authentication goes by.

    Without `api_key_cache` no key is asked for, without `rate_limiter` nobody is limited.
    """

    model: str
    """The served model, which scopes may be limited to."""
    api_key_cache: ApiKeyCache | None
    rate_limiter: RateLimiter | None
    hosts: frozenset[str]
    """Names a request may be meant for, in lower case; none means any."""
    origins: frozenset[str]
    clock: Clock
    failure_limiter: RateLimiter
    sessions: SessionAuth | None = None
    on_refused: Callable[[int], None] = lambda _status: None


class AuthMiddleware:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, policy: AuthPolicy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[bytes, str] = {}
        is_duplicate = False
        for name, value in scope["headers"]:
            if name in _SINGLE_VALUE_HEADERS:
                is_duplicate = is_duplicate or name in headers
                headers[name] = value.decode("latin-1")
            elif name == b"cookie":  # which a proxy may have split
                headers[name] = "; ".join(filter(None, (headers.get(name), value.decode("latin-1"))))
        response, decision = (
            (duplicate_header_problem(), None) if is_duplicate else await self._authorize(scope, headers)
        )
        if response is None:
            await self._app(scope, receive, send if decision is None else self._with_rate_headers(send, decision))
            return
        self._policy.on_refused(response.status_code)
        await response(scope, receive, send)

    async def _authorize(
        self, scope: Scope, headers: Mapping[bytes, str]
    ) -> tuple[Response | None, RateDecision | None]:
        """What to answer instead of the app, and the token that was taken."""
        policy, method = self._policy, scope["method"]
        if policy.hosts and not policy.hosts & {_host(headers), "*"}:
            return wrong_host_problem(headers.get(b"host", "")), None
        accepted_scopes = required_scopes(method, scope["path"])
        if not accepted_scopes:
            if scope["path"].startswith(f"{SIGN_IN_PATH}/") and not self._may_fail(_client_address(scope)):
                return _too_many_problem("too many sign-ins from this address; wait"), None
            if b"authorization" in headers or b"x-api-key" in headers:
                self._identify_optional_caller(scope, headers, _client_address(scope))
            return None, None
        changes = method not in SAFE_METHODS or scope["path"] in MUTATING_GETS
        caller, by_browser = ANONYMOUS, True
        if policy.api_key_cache is not None:
            known = await self._identify(policy.api_key_cache, scope, headers)
            if isinstance(known, Response):
                return known, None
            caller, by_browser = self._limited(known[0], accepted_scopes), known[1]
            who = caller.name if caller.session_id else f"key {caller.key_id}"
            if needed := self._missing_scope(caller, model_reach(scope["path"])):
                return forbidden_problem(who, caller.scopes, needed), None
            if caller.session_id and changes and is_api(scope["path"]):
                return session_problem(), None
        if by_browser and self._is_cross_site(headers, with_password=policy.api_key_cache is not None, mutates=changes):
            return cross_site_problem(), None
        scope[CALLER_SCOPE_KEY] = caller
        if policy.rate_limiter is None:
            return None, None
        decision = policy.rate_limiter.acquire(caller.key_id or _client_address(scope))
        return (None if decision.allowed else self._rate_limit_problem(policy.rate_limiter, decision)), decision

    async def _identify(
        self, api_key_cache: ApiKeyCache, scope: Scope, headers: Mapping[bytes, str]
    ) -> tuple[Caller, bool] | Response:
        """Who asks, by a session or a key, and whether a browser adds that by itself; or why nobody is let in."""
        text, by_browser = _credentials(headers)
        sessions = self._policy.sessions
        if sessions is not None and b"authorization" not in headers and b"x-api-key" not in headers:
            try:
                person = await sessions.find_caller(headers.get(b"cookie", "")) if api_key_cache.ready else None
            except StoreUnavailableError:
                return problem_response(503, *AWAY, "sessions cannot be checked yet; try again")
            if person is not None:
                return person, True
            redirect = sessions.redirect(scope) if scope["path"] != KEY_SIGN_IN_PATH else None
            if redirect is not None and api_key_cache.ready:
                return redirect
        address = _client_address(scope)
        key = await self._authenticate(api_key_cache, text, address)
        if isinstance(key, JSONResponse):
            return _with_auth_challenge(key, scope, text, address)
        return Caller(key.name, key.id, key.scopes), by_browser

    def _may_fail(self, address: str) -> bool:
        """Whether an address may ask once more without showing who it is."""
        return self._policy.failure_limiter.acquire(address).allowed

    def _limited(self, known: Caller, accepted_scopes: frozenset[str]) -> Caller:
        """The caller with the models that this request may be about."""
        models = granted_models(known.scopes, accepted_scopes)
        return replace(known, models=models, needed=tuple(sorted(accepted_scopes)))

    def _missing_scope(self, caller: Caller, reach: Reach) -> str:
        """The scopes of which the caller lacks every one; empty where it may go on."""
        if caller.models is None or (reach == "any" and caller.models):
            return ""
        if not caller.models:
            return scopes_for(caller.needed, "")
        if reach == "all":
            return f"{scopes_for(caller.needed, '')} for every model"
        return "" if self._policy.model in caller.models else scopes_for(caller.needed, self._policy.model)

    async def _authenticate(
        self, api_key_cache: ApiKeyCache, credentials: str, address: str
    ) -> api_key.ApiKey | JSONResponse:
        """The key that a text is; or why it opens nothing."""
        if not api_key_cache.ready:
            return problem_response(503, *AWAY, "keys cannot be checked yet; try again")
        presented = api_key.parse(credentials)
        key = None if presented is None else api_key_cache.find(presented)
        if key is None and not self._may_fail(address):
            return _too_many_problem("too many requests without a good key; wait")
        if key is None and presented is not None:
            key = await self._recheck_unknown_key(api_key_cache, presented)
        if key is None:
            detail = "this key is not known" if credentials else "give an API key (`platform keys create` makes one)"
            return problem_response(401, "unauthenticated", "A key is needed", detail)
        if dead := key.inactive_reason(self._policy.clock()):
            return problem_response(401, "unauthenticated", "A key is needed", f"key {key.id} is {dead}")
        return key

    async def _recheck_unknown_key(
        self, api_key_cache: ApiKeyCache, presented: api_key.PresentedKey
    ) -> api_key.ApiKey | None:
        refreshes_before, loop = api_key_cache.refresh_count, asyncio.get_running_loop()
        deadline = loop.time() + UNKNOWN_KEY_WAIT_SECONDS
        api_key_cache.request_refresh()
        while api_key_cache.refresh_count == refreshes_before and loop.time() < deadline:
            await asyncio.sleep(0.02)
        return api_key_cache.find(presented)

    def _identify_optional_caller(self, scope: Scope, headers: Mapping[bytes, str], address: str) -> None:
        """Note whose key came with a question that is open to anybody, who may be told more; nobody is refused."""
        terms = self._policy
        text, _ = _credentials(headers)
        presented = api_key.parse(text)
        if terms.api_key_cache is None or presented is None:
            return
        key = terms.api_key_cache.find(presented)
        if key is None:
            terms.failure_limiter.acquire(address)
            return
        caller = self._limited(Caller(key.name, key.id, key.scopes), AUDIT_SCOPES)
        if not key.inactive_reason(terms.clock()) and not self._missing_scope(caller, "served"):
            scope[CALLER_SCOPE_KEY] = caller

    def _is_cross_site(self, headers: Mapping[bytes, str], *, with_password: bool, mutates: bool) -> bool:
        """Whether a browser sends this for a page of another site, which it does with the user's credentials.

        The origins of PLATFORM_CORS_ORIGINS may do so where there are no credentials, and never with the password that
        the browser keeps. Following a link from elsewhere is no such thing, as long as it changes nothing.
        """
        origin = headers.get(b"origin", "")
        if not with_password and origin in self._policy.origins:
            return False
        if not mutates and (not with_password or (not origin and headers.get(b"sec-fetch-mode") in (None, "navigate"))):
            return False
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            return site not in ("same-origin", "none")
        return bool(origin) and origin.partition("://")[2] != headers.get(b"host", "")  # an origin has no path

    def _rate_limit_problem(self, limiter: RateLimiter, decision: RateDecision) -> JSONResponse:
        detail = f"at most {limiter.rate:g} requests a second, {limiter.burst} at once (PLATFORM_RATE_LIMIT)"
        answer = problem_response(429, "too-many", "Too many requests", detail)
        answer.headers["retry-after"] = decision.retry_after
        answer.headers.update(_rate_headers(limiter, decision))
        return answer

    def _with_rate_headers(self, send: Send, decision: RateDecision) -> Send:
        limiter = self._policy.rate_limiter
        assert limiter is not None
        extra = [(name.encode(), value.encode()) for name, value in _rate_headers(limiter, decision).items()]

        async def with_rate(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *extra]}  # type: ignore[misc]
            await send(message)

        return with_rate  # type: ignore[return-value]


_SINGLE_VALUE_HEADERS: Final = frozenset(
    {
        *(b"authorization", b"x-api-key", b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode"),
        *(b"content-type", b"content-length", b"idempotency-key", b"x-client-id", b"x-request-id"),
        *(b"x-tensor-dtype", b"x-tensor-shape", b"inference-header-content-length"),
    }
)
"""Headers that have one meaning: a request in which one stands twice means two things, and is refused."""


def _too_many_problem(detail: str) -> JSONResponse:
    answer = problem_response(429, "too-many", "Too many requests", detail)
    answer.headers["retry-after"] = "2"
    return answer


def _rate_headers(limiter: RateLimiter, decision: RateDecision) -> dict[str, str]:
    """The fields of draft-ietf-httpapi-ratelimit-headers."""
    return {
        "ratelimit-policy": limiter.policy_header,
        "ratelimit": f'"default";r={decision.tokens_left};t={decision.retry_after}',
    }


def _client_address(scope: Scope) -> str:
    """The part of the client's address that it has to itself."""
    return client_network((scope.get("client") or ("",))[0])


def _host(headers: Mapping[bytes, str]) -> str:
    """The name a request is meant for, without its port."""
    host = headers.get(b"host", "").lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _credentials(headers: Mapping[bytes, str]) -> tuple[str, bool]:
    """The key that was shown, and whether a browser adds it by itself: so it does with Basic, the key as password."""
    if text := headers.get(b"x-api-key"):
        return text, False
    scheme, _, rest = headers.get(b"authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip(), False
        case "basic":
            try:
                return base64.b64decode(rest, validate=True).decode().partition(":")[2], True
            except ValueError:  # not base64, or not UTF-8
                return "", True
    return "", False


def _with_auth_challenge(response: JSONResponse, scope: Scope, text: str, address: str) -> JSONResponse:
    """How to do better; a browser is asked for a password, where people put their key."""
    if response.status_code == 401:
        bearer = f'Bearer {REALM}, error="invalid_token"' if text else f"Bearer {REALM}"
        basic = f'Basic {REALM}, charset="UTF-8"'
        response.headers["www-authenticate"] = f"{basic}, {bearer}" if accepts_html(scope) else bearer
        presented = api_key.parse(text)
        named = (
            f"key {presented.id} is not good" if presented is not None else "no key" if not text else "what is no key"
        )
        log.info("refused: %s, from %s", named, address or "an unknown address")
    return response
