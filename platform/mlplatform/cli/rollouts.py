"""`platform models shadow` and `platform models canary`: a version tried beside the champion."""

from typing import Annotated, Literal

import typer

from mlplatform.cli.models import By, Reason, models_app
from mlplatform.cli.output import AsJson
from mlplatform.host.console import say

Role = Literal["shadow", "canary"]
Stop = Annotated[bool, typer.Option("--stop", help="End the trial instead.")]


@models_app.command("shadow")
def shadow(
    version: int, stop: Stop = False, reason: Reason = "by hand", by: By = "cli", as_json: AsJson = False
) -> None:
    """Record what a version would answer, beside the champion; nobody gets its answers."""
    _tried(version, "shadow", 0.0, stop, reason, by, as_json)


@models_app.command("canary")
def canary(
    version: int,
    share: Annotated[float, typer.Option("--share", help="Share of clients that it answers.")] = 0.1,
    stop: Stop = False,
    reason: Reason = "by hand",
    by: By = "cli",
    as_json: AsJson = False,
) -> None:
    """Let a version answer a share of the clients, until it is stopped or found worse than the champion."""
    _tried(version, "canary", share, stop, reason, by, as_json)


def _tried(version: int, role: Role, share: float, stop: bool, reason: str, by: str, as_json: bool) -> None:
    from mlplatform.context import build
    from mlplatform.promotion.rollout_analysis import begin_trial, stop_trial
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    if stop:
        trial = stop_trial(parts, version, role, by, reason)
        said = f"version {version} is no {role} any more"
    else:
        trial = begin_trial(parts, version, role, share, by, reason)
        said = f"version {version} is tried as {role} beside version {trial.beside}; servers load it within seconds"
    say(plain(trial), said, as_json)
