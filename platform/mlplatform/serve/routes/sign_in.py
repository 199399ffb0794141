"""Routes by which people sign in at the OpenID provider, and out."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.auth.oidc.sign_in import ATTEMPT_LIFETIME, SignIn
from mlplatform.auth.return_paths import own_path
from mlplatform.errors import InvalidInputError
from mlplatform.serve.middleware.scope_rules import KEY_SIGN_IN_PATH, SIGN_IN_PATH
from mlplatform.serve.routes.form_body import FormBody
from mlplatform.serve.session_cookies import ATTEMPT, SESSION, SessionCookies
from mlplatform.web import account_pages
from mlplatform.web.rendering import PAGE_HEADERS

NextPath = Annotated[str, Query(alias="next", max_length=2000)]
Brought = Annotated[str, Query(max_length=8192)]


def sign_in_router(sign_in: SignIn, cookies: SessionCookies, route_class: type[APIRoute]) -> APIRouter:
    """GET of the way to the provider and of the way back, which ask the provider and may wait for it."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    lifetime = sign_in.sessions.lifetime

    @router.get(f"{SIGN_IN_PATH}/start", response_class=RedirectResponse)
    def start(next_path: NextPath = "/") -> RedirectResponse:
        """Send the browser to the provider."""
        address, kept = sign_in.begin(next_path)
        response = RedirectResponse(address, status_code=303)
        cookies.set(response, ATTEMPT, kept, int(ATTEMPT_LIFETIME.total_seconds()))
        return response

    @router.get(f"{SIGN_IN_PATH}/callback", response_class=RedirectResponse)
    def come_back(
        request: Request, state: Brought = "", code: Brought = "", error: Brought | None = None
    ) -> RedirectResponse:
        """Take what the browser brings back from the provider, and begin its session."""
        kept = cookies.read(request.headers.get("cookie", ""), ATTEMPT)
        brought = {"state": state, "code": code} | ({} if error is None else {"error": error})
        signed_in = sign_in.complete(kept, brought)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}{signed_in.path}", status_code=303)
        cookies.delete(response, ATTEMPT)
        cookies.set(response, SESSION, signed_in.text, int(lifetime.total_seconds()))
        return response

    return router


def session_router(
    sign_in: SignIn,
    cookies: SessionCookies,
    form_tokens: FormTokens,
    api_key_cache: ApiKeyCache,
    route_class: type[APIRoute],
) -> APIRouter:
    """GET of the page to sign in and of the way with a key, POST that signs out: none asks the provider."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)
    empty_form = FormBody(form_tokens)

    @page_route(SIGN_IN_PATH)
    def choose(next_path: NextPath = "/") -> HTMLResponse:
        """The ways to sign in."""
        html = account_pages.sign_in_page(sign_in.provider.issuer, own_path(next_path))
        return HTMLResponse(html, headers=PAGE_HEADERS)

    @router.get(KEY_SIGN_IN_PATH, response_class=RedirectResponse)
    def with_key(request: Request, next_path: NextPath = "/") -> RedirectResponse:
        """Go on with the API key that the browser was asked for, and without the session that it had before."""
        response = RedirectResponse(f"{request.scope.get('root_path', '')}{own_path(next_path)}", status_code=303)
        cookies.delete(response, SESSION)
        return response

    @router.post("/sign-out", response_class=RedirectResponse)
    def sign_out(
        request: Request,
        form: Annotated[Mapping[str, str], Depends(empty_form)],  # noqa: ARG001 - its token is checked
    ) -> RedirectResponse:
        """End the session, here at once and on every server within seconds."""
        caller = caller_of(request)
        if not caller.session_id:
            raise InvalidInputError("nobody is signed in by a session; a browser forgets an API key when it is closed")
        sign_in.sessions.end(caller.session_id, caller.name, caller.key_id)
        api_key_cache.note_ended(caller.session_id)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}{SIGN_IN_PATH}", status_code=303)
        cookies.delete(response, SESSION)
        return response

    return router
