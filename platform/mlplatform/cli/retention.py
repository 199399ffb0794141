"""`platform retention`: status, run, erase."""

from typing import Annotated

import typer

from mlplatform.cli.options import ActorOption, JsonOption
from mlplatform.host.console import echo

retention_app = typer.Typer(help="How long answers are kept, and erasure on request.", no_args_is_help=True)


@retention_app.command("status")
def show_retention_policy(as_json: JsonOption = False) -> None:
    """What is kept how long."""
    from mlplatform.context import create_context
    from mlplatform.retention.apply_retention import retention_policy
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    policy = retention_policy(create_context(load_settings()))
    lines = [
        f"{name}: {period.days or 'kept for ever'}" + " days" * bool(period.days)
        for name, period in (("answers", policy.answers), ("personal", policy.personal))
    ]
    echo(to_jsonable(policy), "\n".join(lines), as_json)


@retention_app.command("run")
def apply_now(
    actor: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Remove now what is older than the settings keep, as the watcher does each hour."""
    from mlplatform.context import create_context
    from mlplatform.retention.apply_retention import apply_retention
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    removed = to_jsonable(apply_retention(create_context(load_settings()), actor))
    echo(removed, ", ".join(f"{count} {name}" for name, count in removed.items()), as_json)


@retention_app.command("erase")
def erase(
    client: Annotated[str, typer.Option("--client", help="The client id, as it came with requests.")],
    actor: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Erase every answer given to a client, with labels and pictures; says what training and the gate lose by it."""
    from mlplatform.context import create_context
    from mlplatform.retention.apply_retention import erase_client
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    erased = erase_client(create_context(load_settings()), client, actor)
    words = (
        f"{erased.answers} answers erased with {erased.pictures} pictures; "
        f"{erased.labelled} of them had labels, which training and the gate will no longer see; "
        f"{erased.shared} pictures stay, because others sent the same"
    )
    later = f"; {erased.waiting_in_spools} rows wait in spools here: erase again when they are recorded"
    echo(to_jsonable(erased), words + later * bool(erased.waiting_in_spools), as_json)
