"""Routes of the page of the rules: what is in force, and the backtest of a draft."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.monitoring.backtest.draft_backtest import DraftBacktester
from mlplatform.serve.routes.form_body import FormBody
from mlplatform.web import rules_page
from mlplatform.web.rendering import PAGE_HEADERS
from mlplatform.web.rule_forecasts import RuleForecasts
from monitors.errors import RulesError
from monitors.rules.quantities import parse_duration

MAX_DRAFT_LENGTH: Final = 60_000


def rules_router(
    context: AppContext, form_tokens: FormTokens, forecasts: RuleForecasts, route_class: type[APIRoute]
) -> APIRouter:
    """GET of the rules, and POST of a draft, which changes nothing."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)
    draft_form = FormBody(form_tokens, ("draft", "period"), max_length=MAX_DRAFT_LENGTH)
    drafts = DraftBacktester()

    @page_route("/rules")
    def rules(request: Request) -> HTMLResponse:
        """Each rule as loaded, its state, what it can find, and the form for a draft."""
        _check_rules(context, request)
        html = rules_page.rules_page(context, forecasts.current(), form_tokens.issue(caller_of(request)))
        return HTMLResponse(html, headers=PAGE_HEADERS)

    @router.post("/rules/backtest", response_class=HTMLResponse)
    def backtest(request: Request, form: Annotated[Mapping[str, str], Depends(draft_form)]) -> HTMLResponse:
        """What a draft of the rules would have done; nothing is saved."""
        periods = [value for value, _ in rules_page.PERIODS]
        if form["period"] not in periods:
            raise InvalidInputError(f"period {form['period'][:40]!r} is none; there are: {', '.join(periods)}")
        _check_rules(context, request)
        outcome = drafts.run(context, form["draft"], parse_duration(form["period"]))
        draft = rules_page.Draft(form["draft"], form["period"], outcome)
        html = rules_page.rules_page(context, forecasts.current(), form_tokens.issue(caller_of(request)), draft)
        return HTMLResponse(html, headers=PAGE_HEADERS)

    return router


def _check_rules(context: AppContext, request: Request) -> None:
    """Raise ForbiddenError where the server's rules are those of a model that the caller may not see."""
    try:
        model = context.rules.model
    except RulesError:
        return  # the page says what is wrong with the file
    caller_of(request).check_model(model, "the rules file")
