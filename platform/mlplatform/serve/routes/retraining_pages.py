"""Routes of the pages of retrainings, and of their forms: ask for one, cancel one."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import cancel_retraining, request_retraining
from mlplatform.serve.routes.form_body import FormBody, check_confirmed, form_actor, required_reason
from mlplatform.serve.routes.model_limits import check_retraining
from mlplatform.serve.routes.predictions import PathId
from mlplatform.web import retraining_pages
from mlplatform.web.rendering import PAGE_HEADERS


def retraining_pages_router(context: AppContext, form_tokens: FormTokens, route_class: type[APIRoute]) -> APIRouter:
    """GET of the queue and of one retraining; POST of what `platform retrain` does."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)
    request_form = FormBody(form_tokens, ("reason",), ("dry_run",))
    cancel_form = FormBody(form_tokens, ("confirm",))
    curves = retraining_pages.shared_loss_curves(context)

    @page_route("/retrainings")
    def retrainings(request: Request) -> HTMLResponse:
        """The newest retrainings of the served model, and the form that asks for one."""
        html = retraining_pages.retrainings_page(context, form_tokens.issue(caller_of(request)))
        return HTMLResponse(html, headers=PAGE_HEADERS)

    @page_route("/retrainings/{retraining_id}")
    def retraining(retraining_id: PathId, request: Request) -> HTMLResponse:
        """One retraining: why, how far, what it learnt from, the gate's findings."""
        check_retraining(context, request, retraining_id)
        token = form_tokens.issue(caller_of(request))
        html = retraining_pages.retraining_page(context, curves, retraining_id, token)
        return HTMLResponse(html, headers=PAGE_HEADERS)

    @router.post("/retrainings", response_class=RedirectResponse)
    def ask(request: Request, form: Annotated[Mapping[str, str], Depends(request_form)]) -> RedirectResponse:
        """Queue a retraining of the served model, or join the one that is queued."""
        reason, is_dry = required_reason(form), form["dry_run"] == "yes"
        retraining_id, _ = request_retraining(context, reason, form_actor(request), dry_run=is_dry)
        return RedirectResponse(f"./retrainings/{retraining_id}", status_code=303)

    @router.post("/retrainings/{retraining_id}/cancel", response_class=RedirectResponse)
    def cancel(
        retraining_id: PathId, request: Request, form: Annotated[Mapping[str, str], Depends(cancel_form)]
    ) -> RedirectResponse:
        """Cancel a queued or running retraining; the champion stays."""
        check_confirmed(form)
        check_retraining(context, request, retraining_id)
        cancel_retraining(context, retraining_id, form_actor(request))
        return RedirectResponse(f"../{retraining_id}", status_code=303)

    return router
