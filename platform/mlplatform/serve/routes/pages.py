"""Routes of the pages for people; they are not part of the documented API."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import acknowledge_alert
from mlplatform.serve.routes.predictions import PathId
from mlplatform.web import dashboard

PAGE_HEADERS = {"content-security-policy": dashboard.CONTENT_SECURITY_POLICY}


def pages_router(context: AppContext, route_class: type[APIRoute]) -> APIRouter:
    """The dashboard, one alert, and its acknowledgement."""
    router = APIRouter(route_class=route_class, include_in_schema=False)

    @router.get("/", response_class=HTMLResponse)
    @router.get("/alerts", response_class=HTMLResponse)
    def overview() -> HTMLResponse:
        """The platform at a glance."""
        return HTMLResponse(dashboard.overview_page(context), headers=PAGE_HEADERS)

    @router.get("/alerts/{alert_id}", response_class=HTMLResponse)
    def alert(alert_id: PathId) -> HTMLResponse:
        """One alert explained."""
        return HTMLResponse(dashboard.alert_page(context, alert_id), headers=PAGE_HEADERS)

    @router.post("/alerts/{alert_id}/acknowledge", response_class=RedirectResponse)
    def acknowledge(alert_id: PathId, request: Request) -> RedirectResponse:
        """Acknowledge a firing alert from its page; the guard refuses a form of another site."""
        acknowledge_alert(context, alert_id, caller_of(request).name or "dashboard")
        return RedirectResponse(f"../{alert_id}", status_code=303)

    return router
