"""`platform label-studio`: export, import."""

from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.options import JsonOption, parse_duration_option
from mlplatform.cli.output import ProgressBar
from mlplatform.host.console import echo

label_studio_app = typer.Typer(help="Inputs to label in Label Studio, and its labels.", no_args_is_help=True)


@label_studio_app.command("export")
def write_tasks(
    out: Annotated[Path, typer.Option("--out", help="Folder for tasks.json and labelling.xml.")] = Path("label-studio"),
    queue: Annotated[
        str, typer.Option("--queue", help="draw, disagreements, or the id of a label audit or review.")
    ] = "draw",
    limit: Annotated[int, typer.Option("--limit", help="How many, at most 1000.")] = 100,
    hold: Annotated[str, typer.Option("--hold", help="For how long nobody else is given them.")] = "7d",
    as_json: JsonOption = False,
) -> None:
    """Write the next inputs as tasks of Label Studio, with the labelling configuration of a project for them."""
    from mlplatform.context import create_context
    from mlplatform.feedback.label_studio.project_files import create_folder, write_project
    from mlplatform.feedback.label_studio.task_export import export_tasks
    from mlplatform.feedback.review_queues import DISAGREEMENTS, DRAW
    from mlplatform.settings import load_settings
    from mlplatform.store.short_ids import resolve_id

    context, duration = create_context(load_settings()), parse_duration_option(hold, "--hold")
    if queue not in (DRAW, DISAGREEMENTS):
        with context.database.read() as connection:
            queue = resolve_id(connection, "task", queue)
    create_folder(out)
    with ProgressBar("exporting", quiet=as_json):
        project = export_tasks(context, queue, limit, duration)
    if not project.tasks:
        echo({"tasks": 0, "files": []}, "nothing waits for a label there", as_json)
        return
    files = [str(path) for path in write_project(project, out)]
    words = f"{len(project.tasks)} tasks: {files[0]}; the labelling configuration of their project: {files[1]}"
    echo({"tasks": len(project.tasks), "files": files}, words, as_json)


@label_studio_app.command("import")
def take_file(file: Path, as_json: JsonOption = False) -> None:
    """Take the annotations of a JSON export as labels; sending it again changes nothing."""
    from mlplatform.context import create_context
    from mlplatform.feedback.label_studio.annotation_import import take_export
    from mlplatform.settings import load_settings

    with ProgressBar("importing", quiet=as_json) as bar:
        counts = take_export(create_context(load_settings()), file, bar.update)
    echo(counts, ", ".join(f"{count} {name}" for name, count in counts.items()), as_json)
