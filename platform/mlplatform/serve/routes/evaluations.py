"""Routes of evaluations: the report that was drawn when a rule began to be broken."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from mlplatform.context import AppContext
from mlplatform.monitoring.report_files import inline_scripts
from mlplatform.operations import queries
from mlplatform.serve.openapi_examples import response_example
from mlplatform.serve.routes.model_limits import check_evaluation
from mlplatform.serve.routes.predictions import PathId
from mlplatform.serve.schemas import PROBLEM_RESPONSES

REPORT_CSP: Final = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
)
"""A report holds texts of clients and runs scripts: as if of another site, with nobody's session and nothing to ask."""


def evaluations_router(context: AppContext, route_class: type[APIRoute]) -> APIRouter:
    """GET of an evaluation's report."""
    router = APIRouter(route_class=route_class, tags=["monitors"], responses=PROBLEM_RESPONSES)

    @router.get(
        "/v1/evaluations/{evaluation_id}/report",
        response_class=HTMLResponse,
        responses=response_example("<!doctype html>...", "text/html"),
    )
    def report(evaluation_id: PathId, request: Request) -> HTMLResponse:
        """Evidently's HTML report of an evaluation, while it is kept; that of each alert is kept with the alert."""
        check_evaluation(context, request, evaluation_id)
        page = inline_scripts(queries.find_report(context, evaluation_id))
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_CSP})

    return router
