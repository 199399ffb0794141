"""`platform feedback`: import."""

from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.options import JsonOption
from mlplatform.cli.output import ProgressBar
from mlplatform.host.console import echo

feedback_app = typer.Typer(help="Labels by prediction id.", no_args_is_help=True)


@feedback_app.command("import")
def import_label_file(
    file: Path,
    source: Annotated[str, typer.Option("--source", help="Where no line says so: audit, delayed, correction.")] = "",
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who gave the labels where no line says so.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every line and write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take labels from CSV or JSON lines; sending a file again changes nothing."""
    from mlplatform.context import create_context
    from mlplatform.feedback.label_import import Defaults, import_labels, preview_import, read_label_file
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    with ProgressBar("reading", quiet=as_json):
        lines = read_label_file(context, file, Defaults(source, reviewer))
    with ProgressBar("checking" if dry_run else "importing", quiet=as_json) as bar:
        counts = preview_import(context, lines) if dry_run else import_labels(context, lines, bar.update)
    echo(counts, ", ".join(f"{count} {name}" for name, count in counts.items()), as_json)
