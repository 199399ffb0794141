"""Routes of retrainings: ask for one, look at one, cancel one."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import cancel_retraining, request_retraining
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_queue import RetrainingState, RetrainingTrigger
from mlplatform.schema_base import ApiModel
from mlplatform.serve.openapi_examples import ID, TIMESTAMP, response_example
from mlplatform.serve.routes.model_limits import check_retraining
from mlplatform.serve.routes.predictions import PathId
from mlplatform.serve.routes.request_body import JsonBody
from mlplatform.serve.schemas import PROBLEM_RESPONSES, IsoTime, JsonObject, RetrainIn, RetrainOut
from mlplatform.serve.thread_pool import ThreadPool

RETRAINING_EXAMPLE: Final[Mapping[str, object]] = {
    "id": ID,
    "pipeline": "digits",
    "state": "running",
    "reason": "accuracy-drop fires",
    "trigger": "alert",
    "causes": [],
    "rerun_of": None,
    "alert_id": ID,
    "requested_by": "watcher",
    "requested_at": TIMESTAMP,
    "started_at": TIMESTAMP,
    "heartbeat_at": TIMESTAMP,
    "finished_at": None,
    "owner": "host:71:9b7a55",
    "progress": {"step": "training", "epoch": 3},
    "run_id": None,
    "candidate_version": None,
    "verdict": None,
    "promoted": False,
    "error": None,
    "dry_run": False,
    "after_promotion": None,
    "ending": None,
}


class RetrainingOut(ApiModel):
    """A retraining: its state, progress, verdict and candidate."""

    id: str
    pipeline: str
    state: RetrainingState
    reason: str
    trigger: RetrainingTrigger
    causes: list[JsonObject]
    rerun_of: str | None
    alert_id: str | None
    requested_by: str
    requested_at: IsoTime
    started_at: IsoTime | None
    heartbeat_at: IsoTime | None
    finished_at: IsoTime | None
    owner: str | None
    progress: JsonObject | None
    run_id: str | None
    candidate_version: int | None
    verdict: JsonObject | None
    promoted: bool
    error: str | None
    dry_run: bool
    after_promotion: int | None
    ending: int | None


def retraining_router(context: AppContext, thread_pool: ThreadPool, route_class: type[APIRoute]) -> APIRouter:
    """POST /v1/retrain, and GET and DELETE of one retraining."""
    router = APIRouter(route_class=route_class, tags=["retrain"], responses=PROBLEM_RESPONSES)
    retrain_body = JsonBody[RetrainIn](thread_pool, RetrainIn, example={"reason": "new scanner", "requested_by": "ann"})

    @router.post(
        "/v1/retrain",
        status_code=202,
        responses=response_example({"id": ID, "joined": False}, status=202),
        openapi_extra=retrain_body.openapi,
    )
    def retrain(body: Annotated[RetrainIn, Depends(retrain_body)], request: Request) -> RetrainOut:
        """Queue a retraining, or join the one that is queued."""
        caller = caller_of(request)
        requested_by = body.requested_by or caller.name or "api"
        details = {"key": caller.key_id, "by": requested_by} if caller.key_id else {}
        actor = caller.name or requested_by
        retraining_id, is_new = request_retraining(
            context, body.reason, actor, trigger="api", requested_by=requested_by, details=details
        )
        return RetrainOut(id=retraining_id, joined=not is_new)

    @router.get("/v1/retrainings/{retraining_id}", responses=response_example(RETRAINING_EXAMPLE))
    def retraining(retraining_id: PathId, request: Request) -> RetrainingOut:
        """A retraining: its state, progress, verdict and candidate."""
        check_retraining(context, request, retraining_id)
        with context.database.read() as connection:
            return RetrainingOut.model_validate(retraining_queue.find(connection, retraining_id), from_attributes=True)

    @router.delete("/v1/retrainings/{retraining_id}", status_code=204)
    def cancel(retraining_id: PathId, request: Request) -> None:
        """Cancel a queued or running retraining; the champion stays."""
        check_retraining(context, request, retraining_id)
        cancel_retraining(context, retraining_id, caller_of(request).name or "api")

    return router
