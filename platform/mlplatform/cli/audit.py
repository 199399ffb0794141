"""`platform audit`: status, next, submit."""

from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.output import AsJson, print_json, print_table, say

audit_app = typer.Typer(help="Answers drawn for review by people.", no_args_is_help=True)
Reviewer = Annotated[str, typer.Option("--reviewer", help="Who reviews; kept with the labels.")]


@audit_app.command("status")
def status(as_json: AsJson = False) -> None:
    """How many answers were drawn and settled, and by which plan."""
    from mlplatform.build import build
    from mlplatform.plain import plain
    from mlplatform.review import progress
    from mlplatform.settings import load_settings

    shown = plain(progress(build(load_settings())))
    if as_json:
        print_json(shown)
        return
    title = f"version {shown['version']}: " + ("drawn by plan" if shown["plan"] else "nothing is drawn yet")
    print_table(title, shown["windows"], ("window", "drawn", "settled", "oldest_open"), "nothing drawn")


@audit_app.command("next")
def next_batch(
    reviewer: Reviewer,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and the sheet.")] = Path("audit"),
    limit: Annotated[int, typer.Option("--limit", help="How many answers, at most 100.")] = 20,
    task: Annotated[
        str | None, typer.Option("--task", help="A label audit or review instead of drawn answers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the next pictures and a sheet to fill in."""
    from mlplatform.build import build
    from mlplatform.review import export, next_answers, picked_answers
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    answers = next_answers(parts, reviewer, limit) if task is None else picked_answers(parts, task, limit)
    if not answers:
        say({"answers": 0, "sheet": None}, "nothing waits for review", as_json)
        return
    sheet = export(out, answers, task or "")
    text = f"{len(answers)} pictures; fill in {sheet}, then: platform audit submit {sheet} --reviewer {reviewer}"
    say({"answers": len(answers), "sheet": str(sheet)}, text, as_json)


@audit_app.command("submit")
def submit_sheet(sheet: Path, reviewer: Reviewer, as_json: AsJson = False) -> None:
    """Take the filled rows of a sheet; sending it again changes nothing."""
    from mlplatform.build import build
    from mlplatform.review import read_sheet, submit
    from mlplatform.settings import load_settings

    taken = submit(build(load_settings()), read_sheet(sheet), reviewer)
    words = f"{taken['audit']} audit labels, {taken['review']} reviews, {taken['repeated']} known already"
    say(taken, words, as_json)
