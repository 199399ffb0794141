"""Routes of labels: feedback by prediction id, and the next review samples to label."""

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.feedback.review_tasks import MAX_ITEMS, claim_items
from mlplatform.schema_base import NO_NUL_PATTERN
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.openapi_examples import ID, LABEL, PNG, PROBABILITIES, TIMESTAMP, response_example
from mlplatform.serve.routes.feedback_service import FeedbackService
from mlplatform.serve.routes.request_body import JsonBody, struct_for
from mlplatform.serve.schemas import PROBLEM_RESPONSES, FeedbackBody, FeedbackMany, FeedbackOut, ReviewMany, ReviewOut
from mlplatform.serve.thread_pool import ThreadPool

FEEDBACK_EXAMPLE = [{"id": ID, "prediction_id": ID, "outcome": "recorded"}]
REVIEW_EXAMPLE = {
    "answers": [{"prediction_id": ID, "at": TIMESTAMP, "image": PNG, "until": "2026-01-01T12:15:00Z"}],
    "classes": list(PROBABILITIES),
}


def feedback_router(
    context: AppContext,
    service: FeedbackService,
    metrics: ServerMetrics,
    thread_pool: ThreadPool,
    route_class: type[APIRoute],
) -> APIRouter:
    """POST /v1/feedback and GET /v1/audit/next."""
    router = APIRouter(route_class=route_class, tags=["feedback"], responses=PROBLEM_RESPONSES)
    labels = list[struct_for(FeedbackIn, strict=True)]  # type: ignore[misc, valid-type]
    feedback_body = JsonBody[FeedbackIn | FeedbackMany](
        thread_pool, FeedbackBody, struct_for(FeedbackIn, feedback=labels), example={"feedback": [LABEL]}
    )

    @router.post("/v1/feedback", responses=response_example(FEEDBACK_EXAMPLE), openapi_extra=feedback_body.openapi)
    def feedback(
        body: Annotated[FeedbackIn | FeedbackMany, Depends(feedback_body)], request: Request
    ) -> list[FeedbackOut]:
        """Take one label or many, by prediction id; sending the same again changes nothing."""
        items = body.feedback if isinstance(body, FeedbackMany) else [body]
        receipts = service.accept(items, caller_of(request))
        for item, receipt in zip(items, receipts, strict=True):
            metrics.feedback.labels(item.source, receipt.outcome).inc()
        return receipts

    @router.get("/v1/audit/next", responses=response_example(REVIEW_EXAMPLE))
    def next_review(
        request: Request,
        reviewer: Annotated[str, Query(max_length=200, pattern=NO_NUL_PATTERN)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_ITEMS)] = 1,
    ) -> ReviewMany:
        """The next drawn answers to label with `source: audit`, held for the reviewer for a quarter of an hour."""
        reviewer = reviewer or caller_of(request).name
        if not reviewer:
            raise InvalidInputError("say who reviews: ?reviewer=NAME, or use a key")
        answers = [
            ReviewOut(
                prediction_id=item.prediction_id,
                at=item.at,
                image=b64encode(item.view.png or b"").decode(),
                row=item.view.row,
                until=item.claimed_until,
            )
            for item in claim_items(context, reviewer, limit)
            if item.claimed_until is not None
        ]
        with context.database.read() as connection:
            rules = context.contracts.label_rules(connection, context.model_name)
        return ReviewMany(answers=answers, classes=list(rules.classes), allowed=rules.hint)

    return router
