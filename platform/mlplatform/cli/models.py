"""`platform models`: list, card, promote, approve, reject, rollback, quarantine, shadow, canary."""

from typing import Annotated, Literal

import typer

from mlplatform.cli.options import ByOption, JsonOption, ReasonOption
from mlplatform.cli.output import print_table
from mlplatform.host.console import echo, print_json

models_app = typer.Typer(help="Registered versions and the champion.", no_args_is_help=True)
StopOption = Annotated[bool, typer.Option("--stop", help="End the trial instead.")]
RolloutRole = Literal["shadow", "canary"]


@models_app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """Versions with their probation and quarantine, the champion, what waits for approval and the newest promotions."""
    from mlplatform.context import create_context
    from mlplatform.operations.queries import model_overview
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    overview = to_jsonable(model_overview(create_context(load_settings())))
    if as_json:
        print_json(overview)
        return
    rows = [row | {"gate": row["tags"].get("gate")} for row in overview["versions"]]
    about = ("version", "aliases", "gate", "probation", "quarantine", "created_at", "run_id")
    print_table(overview["model"], rows, about, "no version yet")
    for waiting in (each for each in overview["approvals"] if each["state"] == "waiting"):
        sentence = f"version {waiting['version']} waits for approval until {waiting['expires_at']}: {waiting['reason']}"
        echo(None, sentence, as_json=False)
    columns = ("seq", "kind", "from_version", "to_version", "at", "actor", "reason")
    if overview["trial"] is not None:
        echo(None, overview["trial"]["text"], as_json=False)
    print_table("promotions", overview["promotions"], columns, "none")


@models_app.command("card")
def show_card(
    version: int,
    diff: Annotated[int | None, typer.Option("--diff", help="Show what changed since this version's card.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The model card of a version, with what production has shown of it, or what changed since another's."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import diff_model_cards, load_model_card
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    if diff is not None:
        changed = diff_model_cards(context, diff, version)
        echo({"from": diff, "to": version, "diff": changed}, changed, as_json)
        return
    text = load_model_card(context, version)
    echo({"version": version, "card": text}, text, as_json)


@models_app.command("promote")
def promote(
    version: int,
    reason: ReasonOption = "promoted by hand",
    by: ByOption = "cli",
    force: Annotated[
        bool, typer.Option("--force", help="Even against the gate, in quarantine or before an approval.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a version champion; refused unless forced: against the gate, in quarantine, before its approval."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import promote_version
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    promotion = promote_version(create_context(load_settings()), version, reason, by, force=force)
    echo(
        to_jsonable(promotion),
        f"version {promotion.to_version} is champion now, after {promotion.from_version}",
        as_json,
    )


@models_app.command("approve")
def approve(
    version: int,
    comment: Annotated[str, typer.Option("--comment", help="Kept with the promotion and in the audit log.")] = "",
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Make the candidate that waits for approval champion."""
    from mlplatform.context import create_context
    from mlplatform.operations.approval_actions import approve_version
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    promotion = approve_version(create_context(load_settings()), version, by, comment)
    sentence = f"version {version} is champion now, after {promotion.from_version}"
    echo(to_jsonable(promotion), sentence, as_json)


@models_app.command("reject")
def reject(
    version: int,
    comment: Annotated[str, typer.Option("--comment", help="Why; kept in the audit log.")],
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Refuse the candidate that waits for approval; the champion stays."""
    from mlplatform.context import create_context
    from mlplatform.operations.approval_actions import reject_version
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    approval = reject_version(create_context(load_settings()), version, by, comment)
    echo(to_jsonable(approval), f"version {version} was rejected; the champion stays", as_json)


@models_app.command("rollback")
def rollback(reason: ReasonOption = "rolled back by hand", by: ByOption = "cli", as_json: JsonOption = False) -> None:
    """Restore the champion before the current one, which goes into quarantine."""
    from mlplatform.context import create_context
    from mlplatform.promotion.promotion_service import promotion_service
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    promotion = promotion_service(context).rollback(context.model_name, by, reason)
    echo(
        to_jsonable(promotion),
        f"version {promotion.to_version} is champion again, after {promotion.from_version}",
        as_json,
    )


@models_app.command("quarantine")
def quarantine(
    version: int,
    reason: ReasonOption = "by hand",
    by: ByOption = "cli",
    lift: Annotated[bool, typer.Option("--lift", help="End the quarantine instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Set a version apart: nothing promotes it or returns to it; `--lift` ends that."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import quarantine_version
    from mlplatform.settings import load_settings

    changed = quarantine_version(create_context(load_settings()), version, reason, by, lift=lift)
    sentence = f"version {version} is {'no longer' if lift else ''} in quarantine".replace("  ", " ")
    value = {"version": version, "quarantined": not lift, "changed": changed}
    echo(value, sentence if changed else f"{sentence}, as before", as_json)


@models_app.command("shadow")
def shadow(
    version: int,
    stop: StopOption = False,
    reason: ReasonOption = "by hand",
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Record what a version would answer, beside the champion; nobody gets its answers."""
    _start_or_stop(version, "shadow", 0.0, stop, reason, by, as_json)


@models_app.command("canary")
def canary(
    version: int,
    share: Annotated[float, typer.Option("--share", help="Share of clients that it answers.")] = 0.1,
    stop: StopOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even where the gate did not pass it, or it waits for approval.")
    ] = False,
    reason: ReasonOption = "by hand",
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Let a version answer a share of the clients, until it is stopped or found worse than the champion."""
    _start_or_stop(version, "canary", share, stop, reason, by, as_json, force=force)


def _start_or_stop(
    version: int,
    role: RolloutRole,
    share: float,
    stop: bool,
    reason: str,
    by: str,
    as_json: bool,
    *,
    force: bool = False,
) -> None:
    from mlplatform.context import create_context
    from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    if stop:
        rollout = stop_rollout(context, version, role, by, reason)
        sentence = f"version {version} is no {role} any more"
    else:
        rollout = begin_rollout(context, version, role, share, by, reason, force=force)
        sentence = (
            f"version {version} is tried as {role} beside version {rollout.beside}; servers load it within seconds"
        )
    echo(to_jsonable(rollout), sentence, as_json)
