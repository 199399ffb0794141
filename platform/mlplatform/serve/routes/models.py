"""Routes of model versions: the overview, and rollouts (shadow, canary) begun and stopped."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, Field

from mlplatform.context import AppContext
from mlplatform.operations import queries
from mlplatform.promotion.promotion_history import PromotionKind
from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
from mlplatform.promotion.rollouts import Rollout, RolloutRole, RolloutState
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel
from mlplatform.serve.openapi_examples import ID, TIMESTAMP, response_example
from mlplatform.serve.routes.request_body import JsonBody
from mlplatform.serve.schemas import PROBLEM_RESPONSES, IsoTime, JsonObject
from mlplatform.serve.thread_pool import ThreadPool

VersionPath = Annotated[int, Path(ge=1, lt=2**31)]
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
    "promotions": [
        {
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
    ],
    "trial": None,
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


class ModelsOut(ApiModel):
    """The served model: its versions, champion, newest promotions and newest rollout."""

    model: str
    champion: int | None
    versions: list[VersionOut]
    promotions: list[PromotionOut]
    trial: RolloutDetail | None


class ShadowIn(ApiModel):
    """A wish to try a version in the shadow."""

    reason: str = Field("asked through the API", max_length=500, pattern=NO_NUL_PATTERN)
    requested_by: str = Field("api", max_length=200, pattern=NO_NUL_PATTERN)


class CanaryIn(ShadowIn):
    """A wish to let a version answer a share of the clients."""

    share: float = Field(0.1, gt=0, lt=1)


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
    def begin_shadow(version: VersionPath, body: Annotated[ShadowIn, Depends(shadow_body)]) -> TrialOut:
        """Record what a version would answer, beside the champion, and return none of it."""
        return _to_response(begin_rollout(context, version, "shadow", 0.0, body.requested_by, body.reason))

    @router.delete("/v1/models/{version}/shadow", responses=response_example(STOPPED_EXAMPLE | SHADOW_EXAMPLE))
    def stop_shadow(version: VersionPath) -> TrialOut:
        """Stop the shadow."""
        return _to_response(stop_rollout(context, version, "shadow", "api", "asked through the API"))

    @router.post(
        "/v1/models/{version}/canary",
        status_code=201,
        responses=response_example(ROLLOUT_EXAMPLE, status=201),
        openapi_extra=canary_body.openapi,
    )
    def begin_canary(version: VersionPath, body: Annotated[CanaryIn, Depends(canary_body)]) -> TrialOut:
        """Let a version answer a share of the clients, until it is stopped or found worse."""
        return _to_response(begin_rollout(context, version, "canary", body.share, body.requested_by, body.reason))

    @router.delete("/v1/models/{version}/canary", responses=response_example(STOPPED_EXAMPLE))
    def stop_canary(version: VersionPath) -> TrialOut:
        """Stop the canary: the champion answers all clients again."""
        return _to_response(stop_rollout(context, version, "canary", "api", "asked through the API"))

    return router


def _to_response(rollout: Rollout) -> TrialOut:
    return TrialOut(**{name: getattr(rollout, name) for name in TrialOut.model_fields})
