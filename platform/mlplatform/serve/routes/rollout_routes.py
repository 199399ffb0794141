"""Trials over HTTP: a shadow or a canary begun and stopped; it decides nothing."""

from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Path
from pydantic import AwareDatetime, Field

from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
from mlplatform.promotion.rollouts import Rollout
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel
from mlplatform.serve.routes.request_body import JsonBody
from mlplatform.serve.state import ApiServer

VersionPath = Annotated[int, Path(ge=1, lt=2**31)]
ROUTE_OPTIONS: Final[dict[str, Any]] = {"tags": ["models"]}


class ShadowIn(ApiModel):
    """A wish to try a version in the shadow."""

    reason: str = Field("asked through the API", max_length=500, pattern=NO_NUL_PATTERN)
    requested_by: str = Field("api", max_length=200, pattern=NO_NUL_PATTERN)


class CanaryIn(ShadowIn):
    """A wish to let a version answer a share of the clients."""

    share: float = Field(0.1, gt=0, lt=1)


class TrialOut(ApiModel):
    """A trial as it stands."""

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


def add_rollout_routes(app: FastAPI, server: ApiServer) -> None:
    """Let the app begin and stop trials."""
    shadow, canary = JsonBody[ShadowIn](server.thread_pool, ShadowIn), JsonBody[CanaryIn](server.thread_pool, CanaryIn)

    @app.post("/v1/models/{version}/shadow", status_code=201, openapi_extra=shadow.openapi, **ROUTE_OPTIONS)
    def begin_shadow(version: VersionPath, body: Annotated[ShadowIn, Depends(shadow)]) -> TrialOut:
        """Record what a version would answer, beside the champion, and return none of it."""
        return _to_response(begin_rollout(server.context, version, "shadow", 0.0, body.requested_by, body.reason))

    @app.delete("/v1/models/{version}/shadow", **ROUTE_OPTIONS)
    def stop_shadow(version: VersionPath) -> TrialOut:
        """Stop the shadow."""
        return _to_response(stop_rollout(server.context, version, "shadow", "api", "asked through the API"))

    @app.post("/v1/models/{version}/canary", status_code=201, openapi_extra=canary.openapi, **ROUTE_OPTIONS)
    def begin_canary(version: VersionPath, body: Annotated[CanaryIn, Depends(canary)]) -> TrialOut:
        """Let a version answer a share of the clients, until it is stopped or found worse."""
        return _to_response(
            begin_rollout(server.context, version, "canary", body.share, body.requested_by, body.reason)
        )

    @app.delete("/v1/models/{version}/canary", **ROUTE_OPTIONS)
    def stop_canary(version: VersionPath) -> TrialOut:
        """Stop the canary: the champion answers all clients again."""
        return _to_response(stop_rollout(server.context, version, "canary", "api", "asked through the API"))


def _to_response(rollout: Rollout) -> TrialOut:
    return TrialOut(**{name: getattr(rollout, name) for name in TrialOut.model_fields})
