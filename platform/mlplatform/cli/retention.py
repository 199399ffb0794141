"""`platform retention`: status, run, erase."""

from typing import Annotated

import typer

from mlplatform.cli.output import AsJson
from mlplatform.host.console import say

retention_app = typer.Typer(help="How long answers are kept, and erasure on request.", no_args_is_help=True)


@retention_app.command("status")
def status(as_json: AsJson = False) -> None:
    """What is kept how long."""
    from mlplatform.context import build
    from mlplatform.retention.apply_retention import plan
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings

    told = plan(build(load_settings()))
    lines = [f"{name}: {each['days'] or 'kept for ever'}" + " days" * bool(each["days"]) for name, each in told.items()]
    say(plain(told), "\n".join(lines), as_json)


@retention_app.command("run")
def run_now(
    actor: Annotated[str, typer.Option("--actor", help="Who; kept in the audit log.")] = "cli", as_json: AsJson = False
) -> None:
    """Remove now what is older than the settings keep, as the watcher does each hour."""
    from mlplatform.context import build
    from mlplatform.retention.apply_retention import retain
    from mlplatform.settings import load_settings

    told = retain(build(load_settings()), actor)
    say(told, ", ".join(f"{count} {name}" for name, count in told.items()), as_json)


@retention_app.command("erase")
def erase(
    client: Annotated[str, typer.Option("--client", help="The client id, as it came with requests.")],
    actor: Annotated[str, typer.Option("--actor", help="Who; kept in the audit log.")] = "cli",
    as_json: AsJson = False,
) -> None:
    """Erase every answer given to a client, with labels and pictures; says what training and the gate lose by it."""
    from mlplatform.context import build
    from mlplatform.retention.apply_retention import forget_client
    from mlplatform.settings import load_settings

    told = forget_client(build(load_settings()), client, actor)
    words = (
        f"{told['answers']} answers erased with {told['pictures']} pictures; {told['labelled']} of them had labels, "
        f"which training and the gate will no longer see; {told['shared']} pictures stay, because others sent the same"
    )
    later = f"; {told['waiting_in_spools']} rows wait in spools here: erase again when they are recorded"
    say(told, words + later * bool(told["waiting_in_spools"]), as_json)
