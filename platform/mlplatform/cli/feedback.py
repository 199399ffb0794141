"""`platform feedback`: import."""

from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.output import AsJson
from mlplatform.host.console import say

feedback_app = typer.Typer(help="Labels by prediction id.", no_args_is_help=True)


@feedback_app.command("import")
def import_file(
    file: Path,
    source: Annotated[str, typer.Option("--source", help="Where no line says so: audit, delayed, correction.")] = "",
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who gave the labels where no line says so.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every line and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take labels from CSV or JSON lines; sending a file again changes nothing."""
    from mlplatform.context import build
    from mlplatform.feedback.label_import import Defaults, read_labels, rehearse, take
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    lines = read_labels(parts, file, Defaults(source, reviewer))
    told = rehearse(parts, lines) if dry_run else take(parts, lines)
    say(told, ", ".join(f"{count} {name}" for name, count in told.items()), as_json)
