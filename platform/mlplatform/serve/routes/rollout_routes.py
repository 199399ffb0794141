"""Trials over HTTP: a shadow or a canary begun and stopped; it decides nothing."""

from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Path
from pydantic import AwareDatetime, Field

from mlplatform.promotion.rollout_analysis import begin_trial, stop_trial
from mlplatform.promotion.rollouts import Trial
from mlplatform.schema_base import NO_NUL, Body
from mlplatform.serve.routes.request_body import JsonBody
from mlplatform.serve.state import Server

Version = Annotated[int, Path(ge=1, lt=2**31)]
ABOUT: Final[dict[str, Any]] = {"tags": ["models"]}


class ShadowIn(Body):
    """A wish to try a version in the shadow."""

    reason: str = Field("asked through the API", max_length=500, pattern=NO_NUL)
    requested_by: str = Field("api", max_length=200, pattern=NO_NUL)


class CanaryIn(ShadowIn):
    """A wish to let a version answer a share of the clients."""

    share: float = Field(0.1, gt=0, lt=1)


class TrialOut(Body):
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


def add_trials(app: FastAPI, server: Server) -> None:
    """Let the app begin and stop trials."""
    shadow, canary = JsonBody[ShadowIn](server.pool, ShadowIn), JsonBody[CanaryIn](server.pool, CanaryIn)

    @app.post("/v1/models/{version}/shadow", status_code=201, openapi_extra=shadow.openapi, **ABOUT)
    def begin_shadow(version: Version, body: Annotated[ShadowIn, Depends(shadow)]) -> TrialOut:
        """Record what a version would answer, beside the champion, and return none of it."""
        return _shown(begin_trial(server.parts, version, "shadow", 0.0, body.requested_by, body.reason))

    @app.delete("/v1/models/{version}/shadow", **ABOUT)
    def stop_shadow(version: Version) -> TrialOut:
        """Stop the shadow."""
        return _shown(stop_trial(server.parts, version, "shadow", "api", "asked through the API"))

    @app.post("/v1/models/{version}/canary", status_code=201, openapi_extra=canary.openapi, **ABOUT)
    def begin_canary(version: Version, body: Annotated[CanaryIn, Depends(canary)]) -> TrialOut:
        """Let a version answer a share of the clients, until it is stopped or found worse."""
        return _shown(begin_trial(server.parts, version, "canary", body.share, body.requested_by, body.reason))

    @app.delete("/v1/models/{version}/canary", **ABOUT)
    def stop_canary(version: Version) -> TrialOut:
        """Stop the canary: the champion answers all clients again."""
        return _shown(stop_trial(server.parts, version, "canary", "api", "asked through the API"))


def _shown(trial: Trial) -> TrialOut:
    return TrialOut(**{name: getattr(trial, name) for name in TrialOut.model_fields})
