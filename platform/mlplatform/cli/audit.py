"""`platform audit`: status, next, submit; log, anchor, verify."""

from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.options import ByOption, JsonOption
from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.host.console import echo, print_json

audit_app = typer.Typer(help="Answers drawn for review by people, and the audit log.", no_args_is_help=True)
ReviewerOption = Annotated[str, typer.Option("--reviewer", help="Who reviews; kept with the labels.")]


@audit_app.command("status")
def show_review_status(as_json: JsonOption = False) -> None:
    """How many answers were drawn and settled, and by which plan."""
    from mlplatform.context import create_context
    from mlplatform.operations.review_progress import review_progress
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    progress = to_jsonable(review_progress(create_context(load_settings())))
    if as_json:
        print_json(progress)
        return
    title = f"version {progress['version']}: " + ("drawn by plan" if progress["plan"] else "nothing is drawn yet")
    print_table(title, progress["windows"], ("window", "drawn", "settled", "oldest_open"), "nothing drawn")


@audit_app.command("next")
def write_review_sheet(
    reviewer: ReviewerOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and the sheet.")] = Path("audit"),
    limit: Annotated[int, typer.Option("--limit", help="How many answers, at most 100.")] = 20,
    task: Annotated[
        str | None, typer.Option("--task", help="A label audit or review instead of drawn answers.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the next pictures and a sheet to fill in."""
    from mlplatform.context import create_context
    from mlplatform.feedback.review_tasks import claim_items, task_items, write_sheet
    from mlplatform.settings import load_settings
    from mlplatform.store.short_ids import resolve_id

    context = create_context(load_settings())
    if task is not None:
        with context.database.read() as connection:
            task = resolve_id(connection, "task", task)
    answers = claim_items(context, reviewer, limit) if task is None else task_items(context, task, limit)
    if not answers:
        echo({"answers": 0, "sheet": None}, "nothing waits for review", as_json)
        return
    sheet = write_sheet(out, answers, task or "")
    text = f"{len(answers)} pictures; fill in {sheet}, then: platform audit submit {sheet} --reviewer {reviewer}"
    echo({"answers": len(answers), "sheet": str(sheet)}, text, as_json)


@audit_app.command("submit")
def submit_sheet(sheet: Path, reviewer: ReviewerOption, as_json: JsonOption = False) -> None:
    """Take the filled rows of a sheet; sending it again changes nothing."""
    from mlplatform.context import create_context
    from mlplatform.feedback.review_tasks import read_sheet, submit_labels
    from mlplatform.settings import load_settings

    counts = submit_labels(create_context(load_settings()), read_sheet(sheet), reviewer)
    words = f"{counts['audit']} audit labels, {counts['review']} reviews, {counts['repeated']} known already"
    echo(counts, words, as_json)


@audit_app.command("log")
def list_log_entries(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Who did what to which model, key, rule or label, newest first."""
    from mlplatform.audit import audit_entries
    from mlplatform.context import create_context
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    with create_context(load_settings()).database.read() as connection:
        rows = to_jsonable(audit_entries.recent_entries(connection, limit))
    if as_json:
        print_json(rows)
    else:
        for row in rows:  # what entries vouch for is for verification, not for reading
            row["details"] = {name: value for name, value in row["details"].items() if name != "rows"}
        print_table("audit log", rows, ("number", "at", "actor", "action", "subject", "details"), "empty")


@audit_app.command("anchor")
def write_checkpoint(
    out: Annotated[Path | None, typer.Option("--out", help="File to add to; PLATFORM_AUDIT_ANCHORS otherwise.")] = None,
    accept: Annotated[
        str, typer.Option("--accept", help="Why the file is put aside and begun anew, though it contradicts.")
    ] = "",
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Write down the heads of the audit log's chains, to be kept outside the database."""
    from mlplatform.audit import checkpoints
    from mlplatform.context import create_context
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    path = out or checkpoints.checkpoint_path(context)
    replaced = checkpoints.replace_checkpoint_file(context, path, accept, by) if accept else None
    checkpoint = checkpoints.write_checkpoint(context, path, context.clock())
    value = {
        "file": str(path),
        "chains": 0 if checkpoint is None else len(checkpoint.heads),
        "signed": bool(checkpoint and checkpoint.authenticated),
        "aside": replaced and str(replaced),
    }
    words = f"; what was there before is kept in {replaced}" if replaced else ""
    echo(value, f"{value['chains']} heads that moved are in {path}{words}", as_json)


@audit_app.command("verify")
def verify_log(
    anchors_file: Annotated[
        Path | None, typer.Option("--anchors", help="Anchors to hold against; PLATFORM_AUDIT_ANCHORS otherwise.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find what was changed, removed or reordered in the log and in predictions; exit code 1 when something was."""
    from mlplatform.audit.verification import verify_with_checkpoint_file
    from mlplatform.context import create_context
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    with ProgressBar("verifying", quiet=as_json):
        report = verify_with_checkpoint_file(create_context(load_settings()), anchors_file)
    echo(to_jsonable(report) | {"sound": report.ok}, report.text, as_json)
    raise typer.Exit(0 if report.ok else 1)
