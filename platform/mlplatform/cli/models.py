"""`platform models`: list, card, promote, rollback, quarantine."""

from typing import Annotated

import typer

from mlplatform.cli.output import AsJson, print_table
from mlplatform.host.console import print_json, say
from mlplatform.promotion.promotion_service import promotion_service

models_app = typer.Typer(help="Registered versions and the champion.", no_args_is_help=True)
By = Annotated[str, typer.Option("--by", help="Who says so; kept in the history.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Versions with their probation and quarantine, the champion and the newest promotions."""
    from mlplatform.context import build
    from mlplatform.operations.queries import models
    from mlplatform.settings import load_settings

    shown = models(build(load_settings()))
    if as_json:
        print_json(shown)
        return
    rows = [row | {"gate": row["tags"].get("gate")} for row in shown["versions"]]
    about = ("version", "aliases", "gate", "probation", "quarantine", "created_at", "run_id")
    print_table(shown["model"], rows, about, "no version yet")
    columns = ("seq", "kind", "from_version", "to_version", "at", "actor", "reason")
    if shown["trial"] is not None:
        say(None, shown["trial"]["text"], as_json=False)
    print_table("promotions", shown["promotions"], columns, "none")


@models_app.command("card")
def card(
    version: int,
    diff: Annotated[int | None, typer.Option("--diff", help="Show what changed since this version's card.")] = None,
    as_json: AsJson = False,
) -> None:
    """The model card of a version, with what production has shown of it, or what changed since another's."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import card_difference, model_card
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    if diff is not None:
        changed = card_difference(parts, diff, version)
        say({"from": diff, "to": version, "diff": changed}, changed, as_json)
        return
    text = model_card(parts, version)
    say({"version": version, "card": text}, text, as_json)


@models_app.command("promote")
def promote(
    version: int,
    reason: Reason = "promoted by hand",
    by: By = "cli",
    force: Annotated[bool, typer.Option("--force", help="Even against the gate's verdict, or in quarantine.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version champion; refused against the gate's verdict or in quarantine unless forced."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import promote_version
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings

    made = promote_version(build(load_settings()), version, reason, by, force=force)
    say(plain(made), f"version {made.to_version} is champion now, after {made.from_version}", as_json)


@models_app.command("rollback")
def rollback(reason: Reason = "rolled back by hand", by: By = "cli", as_json: AsJson = False) -> None:
    """Restore the champion before the current one, which goes into quarantine."""
    from mlplatform.context import build
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    made = promotion_service(parts).rollback(parts.family.name, by, reason)
    say(plain(made), f"version {made.to_version} is champion again, after {made.from_version}", as_json)


@models_app.command("quarantine")
def quarantine(
    version: int,
    reason: Reason = "by hand",
    by: By = "cli",
    lift: Annotated[bool, typer.Option("--lift", help="End the quarantine instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a version apart: nothing promotes it or returns to it; `--lift` ends that."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import quarantine_version
    from mlplatform.settings import load_settings

    changed = quarantine_version(build(load_settings()), version, reason, by, lift=lift)
    said = f"version {version} is {'no longer' if lift else ''} in quarantine".replace("  ", " ")
    value = {"version": version, "quarantined": not lift, "changed": changed}
    say(value, said if changed else f"{said}, as before", as_json)
