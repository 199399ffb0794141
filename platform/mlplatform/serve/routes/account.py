"""Route of the page that says who somebody is here."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.web import account_pages
from mlplatform.web.rendering import PAGE_HEADERS


def account_router(form_tokens: FormTokens, route_class: type[APIRoute], *, asks_who: bool) -> APIRouter:
    """GET of the page that says who somebody is here, and what they may do."""
    router = APIRouter(route_class=route_class, include_in_schema=False)

    @router.api_route("/account", methods=["GET", "HEAD"], response_class=HTMLResponse)
    def account(request: Request) -> HTMLResponse:
        """Who is signed in, by what, and with which scopes."""
        caller = caller_of(request)
        html = account_pages.account_page(caller, form_tokens.issue(caller), asks_who=asks_who)
        return HTMLResponse(html, headers=PAGE_HEADERS)

    return router
