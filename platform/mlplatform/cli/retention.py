"""`platform retention`: status, run, erase."""

from typing import Annotated

import typer

from mlplatform.cli.options import ActorOption, JsonOption
from mlplatform.cli.output import ProgressBar
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
        for name, period in (
            ("answers", policy.answers),
            ("personal", policy.personal),
            ("column counts", policy.column_counts),
        )
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

    with ProgressBar("removing", quiet=as_json):
        removed = to_jsonable(apply_retention(create_context(load_settings()), actor))
    echo(removed, ", ".join(f"{count} {name}" for name, count in removed.items()), as_json)


@retention_app.command("erase")
def erase(
    client: Annotated[str | None, typer.Option("--client", help="The client id, as it came with requests.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Whom rows of a table are about, as it came with them.")
    ] = None,
    actor: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Erase every answer given to a client or about a subject, with labels and inputs; says what is lost by it."""
    from mlplatform.context import create_context
    from mlplatform.errors import InvalidInputError
    from mlplatform.retention.apply_retention import erase_client, erase_subject
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    if (client is None) == (subject is None):
        raise InvalidInputError("name whom to erase: either --client or --subject")
    context = create_context(load_settings())
    with ProgressBar("erasing", quiet=as_json):
        erased = erase_subject(context, subject, actor) if client is None else erase_client(context, client, actor)  # type: ignore[arg-type]
    words = (
        f"{erased.answers} answers erased with {erased.pictures} inputs; "
        f"{erased.labelled} of them had labels, which training and the gate will no longer see; "
        f"{erased.shared} inputs stay, because others sent the same"
    )
    later = f"; {erased.waiting_in_spools} rows wait in spools here: erase again when they are recorded"
    echo(to_jsonable(erased), words + later * bool(erased.waiting_in_spools), as_json)
