"""Routes of the pages of the audit log and of the API keys."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from mlplatform.audit.entry_search import EntryFilter
from mlplatform.context import AppContext
from mlplatform.schema_base import NO_NUL_PATTERN
from mlplatform.web import audit_page
from mlplatform.web.rendering import PAGE_HEADERS

FilterText = Annotated[str, Query(max_length=200, pattern=NO_NUL_PATTERN)]
Place = Annotated[int | None, Query(ge=1, lt=2**31)]


def audit_router(context: AppContext, route_class: type[APIRoute]) -> APIRouter:
    """GET of the log, by filters, and of the keys."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)

    @page_route("/audit")
    def log(
        actor: FilterText = "", action: FilterText = "", subject: FilterText = "", before: Place = None
    ) -> HTMLResponse:
        """Who did what, newest first, by actor, action and subject, and how the log stands to its chain."""
        wanted = EntryFilter(actor.strip(), action.strip(), subject.strip(), before)
        return HTMLResponse(audit_page.audit_page(context, wanted), headers=PAGE_HEADERS)

    @page_route("/keys")
    def keys() -> HTMLResponse:
        """Every API key without its secret: who holds it, what it opens, when it was last used."""
        return HTMLResponse(audit_page.keys_page(context), headers=PAGE_HEADERS)

    return router
