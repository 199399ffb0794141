"""Routes of the pages for people and of the files they load; they are not part of the documented API."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.operations.operator_actions import acknowledge_alert, silence_alert
from mlplatform.schema_base import NO_NUL_PATTERN
from mlplatform.serve.routes.form_body import FormBody, form_actor
from mlplatform.serve.routes.model_limits import check_alert
from mlplatform.serve.routes.predictions import PathId
from mlplatform.web import alert_list, alert_page, assets, model_page, overview
from mlplatform.web.rendering import PAGE_HEADERS
from mlplatform.web.rule_forecasts import RuleForecasts
from mlplatform.web.time_ranges import DEFAULT_RANGE
from monitors.rules.quantities import parse_duration

RangeName = Annotated[str, Query(alias="range", max_length=20)]
ClassName = Annotated[str, Query(max_length=200, pattern=NO_NUL_PATTERN)]

KEPT_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
KEPT_FOR_A_DAY = {"cache-control": "public, max-age=86400"}


def overview_router(context: AppContext, route_class: type[APIRoute]) -> APIRouter:
    """The overview, which asks MLflow as well as the database."""
    router = APIRouter(route_class=route_class, include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    def models(request: Request) -> HTMLResponse:
        """The platform at a glance: a card for each model, the gravest first."""
        return _page(overview.overview_page(context, caller_of(request)))

    return router


def pages_router(
    context: AppContext, form_tokens: FormTokens, forecasts: RuleForecasts, route_class: type[APIRoute]
) -> APIRouter:
    """One model, alerts, and the acknowledgement of one."""
    acknowledgement = FormBody(form_tokens, optional=("note",))
    silence_form = FormBody(form_tokens, required=("duration", "reason"))
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)

    @page_route("/alerts")
    def alerts(request: Request) -> HTMLResponse:
        """The open alerts of all models that the caller may see, and those that ended lately."""
        return _page(alert_list.alert_list_page(context, caller_of(request).models))

    @page_route("/models/{name}")
    def model(name: PathId, request: Request, range_name: RangeName = DEFAULT_RANGE) -> HTMLResponse:
        """One model over a length of time: timeline, what each rule knows, labels, confusion, latency, volume."""
        caller_of(request).check_model(name, "this page")
        return _page(model_page.model_page(context, name, range_name, forecasts))

    @page_route("/models/{name}/inputs")
    def inputs(
        name: PathId, request: Request, truth: ClassName, answer: ClassName, range_name: RangeName = DEFAULT_RANGE
    ) -> HTMLResponse:
        """The newest inputs of one true class that were answered as another."""
        caller_of(request).check_model(name, "this page")
        return _page(model_page.inputs_page(context, name, truth, answer, range_name))

    @page_route("/alerts/{alert_id}")
    def alert(alert_id: PathId, request: Request) -> HTMLResponse:
        """One alert explained."""
        check_alert(context, request, alert_id)
        return _page(alert_page.alert_page(context, alert_id, form_tokens.issue(caller_of(request))))

    @router.post("/alerts/{alert_id}/acknowledge", response_class=RedirectResponse)
    def acknowledge(
        alert_id: PathId, request: Request, form: Annotated[Mapping[str, str], Depends(acknowledgement)]
    ) -> RedirectResponse:
        """Acknowledge a firing alert from its page; a form of another page is refused."""
        check_alert(context, request, alert_id)
        acknowledge_alert(context, alert_id, form_actor(request), form["note"])
        return RedirectResponse(f"../{alert_id}", status_code=303)

    @router.post("/alerts/{alert_id}/silence", response_class=RedirectResponse)
    def silence(
        alert_id: PathId, request: Request, form: Annotated[Mapping[str, str], Depends(silence_form)]
    ) -> RedirectResponse:
        """Silence an alert's rule and key for a while from its page; a form of another page is refused."""
        check_alert(context, request, alert_id)
        silence_alert(context, alert_id, _duration(form["duration"]), form["reason"], form_actor(request))
        return RedirectResponse(f"../{alert_id}", status_code=303)

    return router


def assets_router() -> APIRouter:
    """The style, script and icon of the pages, from memory."""
    router = APIRouter(include_in_schema=False)
    asset_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=Response)

    @asset_route("/assets/{name}")
    async def asset(name: str) -> Response:
        """A file under the name that has its digest, which never changes."""
        found = assets.find_asset(name)
        if found is None:
            raise NotFoundError(f"file {name!r} is none of this version's; load the page again")
        return Response(found.content, media_type=found.content_type, headers=KEPT_FOR_EVER)

    @asset_route("/favicon.ico")
    async def favicon() -> Response:
        """The icon, for browsers that ask for it without reading a page."""
        icon = assets.load_assets()["icon.svg"]
        return Response(icon.content, media_type=icon.content_type, headers=KEPT_FOR_A_DAY)

    return router


def _page(html: str) -> HTMLResponse:
    return HTMLResponse(html, headers=PAGE_HEADERS)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidInputError(f"duration {text[:40]!r} {error}") from error
