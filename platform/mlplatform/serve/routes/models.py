"""Routes of model versions: the overview, approvals, and rollouts (shadow, canary) begun and stopped."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, Field

from mlplatform.auth.caller import Caller, caller_of
from mlplatform.context import AppContext
from mlplatform.operations import queries
from mlplatform.operations.approval_actions import approve_version, reject_version
from mlplatform.promotion.approvals import ApprovalState
from mlplatform.promotion.promotion_history import PromotionKind
from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
from mlplatform.promotion.rollouts import Rollout, RolloutRole, RolloutState
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel
from mlplatform.serve.openapi_examples import ID, TIMESTAMP, response_example
from mlplatform.serve.routes.request_body import JsonBody
from mlplatform.serve.schemas import PROBLEM_RESPONSES, IsoTime, JsonObject
from mlplatform.serve.thread_pool import ThreadPool

VersionPath = Annotated[int, Path(ge=1, lt=2**31)]
PROMOTION_EXAMPLE = {
    "seq": 3,
    "model_name": "digits",
    "from_version": 6,
    "to_version": 7,
    "kind": "promote",
    "at": TIMESTAMP,
    "actor": "watcher",
    "reason": "the gate's verdict is promote",
    "retraining_id": ID,
    "verdict": None,
    "fence": 12,
}
MODELS_EXAMPLE = {
    "model": "digits",
    "champion": 7,
    "versions": [
        {
            "name": "digits",
            "version": 7,
            "run_id": "5b0c1a",
            "created_at": TIMESTAMP,
            "tags": {"gate": "promote"},
            "aliases": ["champion"],
            "has_card": True,
            "probation": None,
            "quarantine": None,
        }
    ],
    "promotions": [PROMOTION_EXAMPLE],
    "trial": None,
    "approvals": [],
}
APPROVAL_EXAMPLE = {
    "id": ID,
    "model_name": "digits",
    "version": 8,
    "champion": 7,
    "state": "rejected",
    "reason": "accuracy-drop",
    "requested_by": f"retraining/{ID}",
    "requested_at": TIMESTAMP,
    "expires_at": "2026-01-09T12:00:00Z",
    "retraining_id": ID,
    "verdict": None,
    "decided_at": "2026-01-02T12:00:00Z",
    "decided_by": "ann",
    "comment": "the new scanner is not in its data",
}
ROLLOUT_EXAMPLE = {
    "id": ID,
    "version": 8,
    "beside": 7,
    "role": "canary",
    "share": 0.1,
    "state": "running",
    "at": TIMESTAMP,
    "reason": "new scanner",
    "ended_at": None,
    "ended_reason": "",
}
STOPPED_EXAMPLE = ROLLOUT_EXAMPLE | {
    "state": "stopped",
    "ended_at": "2026-01-02T12:00:00Z",
    "ended_reason": "seen enough",
}
SHADOW_EXAMPLE = {"role": "shadow", "share": 0.0}


class VersionOut(ApiModel):
    """A registered version; `probation` says how it stands, `quarantine` why nothing promotes it."""

    name: str
    version: int
    run_id: str
    created_at: IsoTime
    tags: dict[str, str]
    aliases: list[str]
    has_card: bool
    probation: str | None
    quarantine: str | None


class PromotionOut(ApiModel):
    """One change of champion; `fence` is the token of the lease it was made under."""

    seq: int
    model_name: str
    from_version: int | None
    to_version: int
    kind: PromotionKind
    at: IsoTime
    actor: str
    reason: str
    retraining_id: str | None
    verdict: JsonObject | None
    fence: int


class RolloutDetail(ApiModel):
    """The newest rollout with how its comparison by labels stands, `duel`, and in words, `text`."""

    id: str
    model_name: str
    version: int
    beside: int
    role: RolloutRole
    share: float
    state: RolloutState
    at: IsoTime
    actor: str
    reason: str
    cursor: int
    duel: JsonObject
    ended_at: IsoTime | None
    ended_by: str
    ended_reason: str
    text: str


class ApprovalOut(ApiModel):
    """A candidate that passed the gate, and what a person decided; `champion` is what it was compared with."""

    id: str
    model_name: str
    version: int
    champion: int | None
    state: ApprovalState
    reason: str
    requested_by: str
    requested_at: IsoTime
    expires_at: IsoTime
    retraining_id: str | None
    verdict: JsonObject | None
    decided_at: IsoTime | None
    decided_by: str
    comment: str


class DecisionIn(ApiModel):
    """A person's decision on a candidate; a rejection needs its comment."""

    comment: str = Field("", max_length=500, pattern=NO_NUL_PATTERN)
    requested_by: str = Field("", max_length=200, pattern=NO_NUL_PATTERN)
    """Who decides; beside the name of the API key where one is used."""


class ModelsOut(ApiModel):
    """The served model: its versions, champion, newest promotions, approvals and rollout."""

    model: str
    champion: int | None
    versions: list[VersionOut]
    promotions: list[PromotionOut]
    trial: RolloutDetail | None
    approvals: list[ApprovalOut]


class ShadowIn(ApiModel):
    """A wish to try a version in the shadow."""

    reason: str = Field("asked through the API", max_length=500, pattern=NO_NUL_PATTERN)
    requested_by: str = Field("", max_length=200, pattern=NO_NUL_PATTERN)
    """Who asks; beside the name of the API key where one is used."""


class CanaryIn(ShadowIn):
    """A wish to let a version answer a share of the clients.

    `force` lets one answer that the gate did not pass, or that waits for approval.
    """

    share: float = Field(0.1, gt=0, lt=1)
    force: bool = False


class TrialOut(ApiModel):
    """A rollout as it stands."""

    id: str
    version: int
    beside: int
    role: Literal["shadow", "canary"]
    share: float
    state: Literal["running", "stopped", "failed"]
    at: AwareDatetime
    reason: str
    ended_at: AwareDatetime | None
    ended_reason: str


def models_router(context: AppContext, route_class: type[APIRoute]) -> APIRouter:
    """GET /v1/models."""
    router = APIRouter(route_class=route_class, tags=["models"], responses=PROBLEM_RESPONSES)

    @router.get("/v1/models", responses=response_example(MODELS_EXAMPLE))
    def models() -> ModelsOut:
        """Registered versions, the champion and the history of promotions."""
        return ModelsOut.model_validate(queries.model_overview(context), from_attributes=True)

    return router


def approval_router(context: AppContext, thread_pool: ThreadPool, route_class: type[APIRoute]) -> APIRouter:
    """POST of what a person decides on the candidate that waits for approval."""
    router = APIRouter(route_class=route_class, tags=["models"], responses=PROBLEM_RESPONSES)
    example = {"comment": "checked on the new scanner", "requested_by": "ann"}
    decision_body = JsonBody[DecisionIn](thread_pool, DecisionIn, example=example)

    @router.post(
        "/v1/models/{version}/approve",
        responses=response_example(PROMOTION_EXAMPLE),
        openapi_extra=decision_body.openapi,
    )
    def approve(
        version: VersionPath, body: Annotated[DecisionIn, Depends(decision_body)], request: Request
    ) -> PromotionOut:
        """Make the candidate that waits for approval champion."""
        actor = _actor(body.requested_by, caller_of(request))
        return PromotionOut.model_validate(approve_version(context, version, actor, body.comment), from_attributes=True)

    @router.post(
        "/v1/models/{version}/reject",
        responses=response_example(APPROVAL_EXAMPLE),
        openapi_extra=decision_body.openapi,
    )
    def reject(
        version: VersionPath, body: Annotated[DecisionIn, Depends(decision_body)], request: Request
    ) -> ApprovalOut:
        """Refuse the candidate that waits for approval; the champion stays."""
        actor = _actor(body.requested_by, caller_of(request))
        return ApprovalOut.model_validate(reject_version(context, version, actor, body.comment), from_attributes=True)

    return router


def rollout_router(context: AppContext, thread_pool: ThreadPool, route_class: type[APIRoute]) -> APIRouter:
    """POST and DELETE of a version's shadow and canary."""
    router = APIRouter(route_class=route_class, tags=["models"], responses=PROBLEM_RESPONSES)
    wish = {"reason": "new scanner", "requested_by": "ann"}
    shadow_body = JsonBody[ShadowIn](thread_pool, ShadowIn, example=wish)
    canary_body = JsonBody[CanaryIn](thread_pool, CanaryIn, example={"share": 0.1} | wish)

    @router.post(
        "/v1/models/{version}/shadow",
        status_code=201,
        responses=response_example(ROLLOUT_EXAMPLE | SHADOW_EXAMPLE, status=201),
        openapi_extra=shadow_body.openapi,
    )
    def begin_shadow(
        version: VersionPath, body: Annotated[ShadowIn, Depends(shadow_body)], request: Request
    ) -> TrialOut:
        """Record what a version would answer, beside the champion, and return none of it."""
        actor = _actor(body.requested_by, caller_of(request))
        return _to_response(begin_rollout(context, version, "shadow", 0.0, actor, body.reason))

    @router.delete("/v1/models/{version}/shadow", responses=response_example(STOPPED_EXAMPLE | SHADOW_EXAMPLE))
    def stop_shadow(version: VersionPath, request: Request) -> TrialOut:
        """Stop the shadow."""
        actor = _actor("", caller_of(request))
        return _to_response(stop_rollout(context, version, "shadow", actor, "asked through the API"))

    @router.post(
        "/v1/models/{version}/canary",
        status_code=201,
        responses=response_example(ROLLOUT_EXAMPLE, status=201),
        openapi_extra=canary_body.openapi,
    )
    def begin_canary(
        version: VersionPath, body: Annotated[CanaryIn, Depends(canary_body)], request: Request
    ) -> TrialOut:
        """Let a version answer a share of the clients, until it is stopped or found worse.

        One that the gate did not pass, or that waits for approval, is refused with 409 unless forced.
        """
        actor = _actor(body.requested_by, caller_of(request))
        return _to_response(begin_rollout(context, version, "canary", body.share, actor, body.reason, force=body.force))

    @router.delete("/v1/models/{version}/canary", responses=response_example(STOPPED_EXAMPLE))
    def stop_canary(version: VersionPath, request: Request) -> TrialOut:
        """Stop the canary: the champion answers all clients again."""
        actor = _actor("", caller_of(request))
        return _to_response(stop_rollout(context, version, "canary", actor, "asked through the API"))

    return router


def _actor(requested_by: str, caller: Caller) -> str:
    """Whom the audit log names: whoever is named in the request, and always the holder of its key."""
    if not caller.name:
        return requested_by or "api"
    return f"{requested_by} (key {caller.name})" if requested_by else caller.name


def _to_response(rollout: Rollout) -> TrialOut:
    return TrialOut(**{name: getattr(rollout, name) for name in TrialOut.model_fields})
