"""`platform models shadow` and `platform models canary`: a version tried beside the champion."""

from typing import Annotated, Literal

import typer

from mlplatform.cli.models import ActorOption, ReasonOption, models_app
from mlplatform.cli.output import JsonOption
from mlplatform.host.console import echo

RolloutRole = Literal["shadow", "canary"]
StopOption = Annotated[bool, typer.Option("--stop", help="End the trial instead.")]


@models_app.command("shadow")
def shadow(
    version: int,
    stop: StopOption = False,
    reason: ReasonOption = "by hand",
    by: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Record what a version would answer, beside the champion; nobody gets its answers."""
    _start_or_stop(version, "shadow", 0.0, stop, reason, by, as_json)


@models_app.command("canary")
def canary(
    version: int,
    share: Annotated[float, typer.Option("--share", help="Share of clients that it answers.")] = 0.1,
    stop: StopOption = False,
    reason: ReasonOption = "by hand",
    by: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Let a version answer a share of the clients, until it is stopped or found worse than the champion."""
    _start_or_stop(version, "canary", share, stop, reason, by, as_json)


def _start_or_stop(
    version: int, role: RolloutRole, share: float, stop: bool, reason: str, by: str, as_json: bool
) -> None:
    from mlplatform.context import create_context
    from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    if stop:
        trial = stop_rollout(context, version, role, by, reason)
        said = f"version {version} is no {role} any more"
    else:
        trial = begin_rollout(context, version, role, share, by, reason)
        said = f"version {version} is tried as {role} beside version {trial.beside}; servers load it within seconds"
    echo(to_jsonable(trial), said, as_json)
