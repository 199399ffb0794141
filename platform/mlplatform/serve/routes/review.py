"""Routes of the pages where people label inputs; they are not part of the documented API."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import review_session
from mlplatform.feedback.review_session import Verdict, VerdictKind, check_reviewer
from mlplatform.schema_base import NO_NUL_PATTERN
from mlplatform.serve.routes.form_body import FormBody
from mlplatform.serve.routes.model_limits import check_prediction
from mlplatform.serve.routes.predictions import PathId
from mlplatform.web import review_page
from mlplatform.web.rendering import PAGE_HEADERS

Name = Annotated[str, Query(alias="reviewer", max_length=200, pattern=NO_NUL_PATTERN)]
ItemId = Annotated[str, Query(alias="item", max_length=64, pattern=NO_NUL_PATTERN)]
PASSES: Final[Mapping[str, VerdictKind]] = {"skip": "skip", "unsure": "unsure"}


def review_router(context: AppContext, form_tokens: FormTokens, route_class: type[APIRoute]) -> APIRouter:
    """GET of the queues, of an input and of its picture; POST of what a reviewer says, which brings the next input."""
    verdict_form = FormBody(form_tokens, optional=("prediction_id", "label", "verdict", "reviewer"))
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)

    @page_route("/review")
    def queues(request: Request, reviewer: Name = "") -> HTMLResponse:
        """What waits for a label, by queue."""
        named = caller_of(request).name or (check_reviewer(reviewer) if reviewer else "")
        token = form_tokens.issue(caller_of(request))
        return _page(review_page.queues_page(context, named, token, asks_name=_asks_name(request)))

    @page_route("/review/{queue_id}")
    def desk(queue_id: PathId, request: Request, reviewer: Name = "", item: ItemId = "") -> HTMLResponse:
        """The input that the reviewer holds, or one that they spoke about before."""
        who = _reviewer(request, reviewer)
        token = form_tokens.issue(caller_of(request))
        return _page(review_page.desk_page(context, queue_id, who, token, item, asks_name=_asks_name(request)))

    @router.get("/review/{queue_id}/inputs/{prediction_id}", response_class=Response)
    def picture(queue_id: PathId, prediction_id: PathId, request: Request, reviewer: Name = "") -> Response:  # noqa: ARG001 - an address below the queue's
        """The picture of an input that the reviewer holds or spoke about, and of no other."""
        check_prediction(context, request, prediction_id)
        view = review_session.load_held_item(context, prediction_id, _reviewer(request, reviewer)).view
        if view.png is None:
            raise NotFoundError(f"prediction {prediction_id!r} was made for a row of a table, which has no picture")
        return Response(view.png, media_type="image/png")

    @router.post("/review/{queue_id}", response_class=RedirectResponse)
    def verdict(
        queue_id: PathId, request: Request, form: Annotated[Mapping[str, str], Depends(verdict_form)]
    ) -> RedirectResponse:
        """Take what the reviewer says, where it says something, and hold the next input for them."""
        who = _reviewer(request, form["reviewer"])
        if given := _verdict(form):
            review_session.give_verdict(context, queue_id, who, given, caller_of(request).key_id)
        review_session.claim_next(context, queue_id, who)
        query = review_page.reviewer_query(who if _asks_name(request) else "")
        return RedirectResponse(f"{quote(queue_id, safe='')}{query}", status_code=303)

    return router


def _page(html: str) -> HTMLResponse:
    return HTMLResponse(html, headers=PAGE_HEADERS)


def _asks_name(request: Request) -> bool:
    """Whether no key says who reviews."""
    return not caller_of(request).name


def _reviewer(request: Request, named: str) -> str:
    """Who reviews: the key's holder, or where there is no key whoever is named; raises InvalidInputError."""
    if not caller_of(request).name and not named:
        raise InvalidInputError("nobody is named who reviews; begin at /review, or use a key")
    return check_reviewer(caller_of(request).name or named)


def _verdict(form: Mapping[str, str]) -> Verdict | None:
    """What the form says of an input, None where it only asks for the next; raises InvalidInputError."""
    prediction_id, label, passed = form["prediction_id"], form["label"], form["verdict"]
    if not label and not passed:
        return None
    if not prediction_id:
        raise InvalidInputError("no input is named; send the form from its page")
    if not passed:
        return Verdict(prediction_id, "label", label)
    if passed not in PASSES:
        raise InvalidInputError(f"verdict {passed[:40]!r} is none; it is skip or unsure")
    return Verdict(prediction_id, PASSES[passed])
