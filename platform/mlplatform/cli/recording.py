"""`platform recording`: list, restore, discard."""

from typing import Annotated

import typer

from mlplatform.cli.options import ActorOption, JsonOption
from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.host.console import echo, print_json

recording_app = typer.Typer(help="Answers whose rows were set aside until a person decides.", no_args_is_help=True)


@recording_app.command("list")
def list_quarantined_rows(as_json: JsonOption = False) -> None:
    """What was set aside on this disk: refused by the database, or damaged."""
    from mlplatform.context import create_context
    from mlplatform.recording.recovery import list_files
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    rows = to_jsonable(list_files(create_context(load_settings())))
    if as_json:
        print_json(rows)
    else:
        print_table("set aside", rows, ("name", "at", "rows", "damaged", "size"), "nothing is set aside")


@recording_app.command("restore")
def restore_rows(
    name: Annotated[str | None, typer.Argument(help="File as listed; all of them otherwise.")] = None,
    actor: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Write set-aside rows into the database after all; those it still refuses and what is damaged stay."""
    from mlplatform.context import create_context
    from mlplatform.recording.recovery import restore
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    with ProgressBar("restoring", quiet=as_json):
        results = restore(create_context(load_settings()), name, actor)
    lines = [
        f"{result.name}: {result.restored} restored, {result.refused} refused, {result.damaged} damaged"
        for result in results
    ]
    echo(to_jsonable(results), "\n".join(lines) or "nothing is set aside", as_json)


@recording_app.command("discard")
def discard_rows(
    name: Annotated[str, typer.Argument(help="File as listed.")],
    actor: ActorOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Give up what a file of set-aside rows holds, for good."""
    from mlplatform.context import create_context
    from mlplatform.recording.recovery import discard
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    result = discard(create_context(load_settings()), name, actor)
    sentence = f"{result.name}: {result.refused} rows and {result.damaged} damaged stretches given up"
    echo(to_jsonable(result), sentence, as_json)
