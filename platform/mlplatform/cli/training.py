"""The longer commands: training, queueing, checking, fetching; each builds once, calls, prints."""

import itertools
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlplatform.audit import audit_entries
from mlplatform.cli.exit_codes import EXIT_BREACH, EXIT_FAILED
from mlplatform.cli.output import print_table
from mlplatform.context import AppContext, create_context
from mlplatform.errors import NotFoundError
from mlplatform.host.console import console, echo, print_json
from mlplatform.host.control_characters import escape_controls
from mlplatform.network.deadline import run_with_deadline
from mlplatform.operations.operator_actions import cancel_retraining
from mlplatform.operations.queries import platform_status
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import usage_sentence
from mlplatform.serialization import to_jsonable
from mlplatform.settings import load_settings
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease_name
from mlplatform.store.short_ids import resolve_id

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.recipe import Recipe
    from pipelines.training.recipe_search import SearchResult

POLL_SECONDS = 0.5
FETCH_TIMEOUT_SECONDS = 3600.0
"""A data set is fetched within this time, or not: a mirror may send a byte now and then."""


def run_training(
    pipeline: str | None, recipe: str | None, reason: str, data_dir: Path | None, trials: int, as_json: bool
) -> None:
    """`platform train`."""
    from mlplatform.retraining.worker import select_recipe, train

    context = create_context(load_settings(pipeline=pipeline, data_dir=data_dir))
    chosen = select_recipe(context, context.pipeline, recipe)
    found = _search_recipe(context, chosen, trials, as_json) if trials else None
    with ProgressBar("training", quiet=as_json) as bar:
        outcome = train(
            context,
            context.pipeline,
            reason,
            "cli",
            recipe=chosen if found is None else found.recipe,
            on_epoch=lambda m: bar.update(m.epoch, m.epochs, f"validation accuracy {m.validation_accuracy:.3f}"),
        )
    candidate, verdict = outcome.candidate, outcome.candidate.verdict
    promoted = outcome.promotion is not None
    value = {
        "model": context.pipeline.name,
        "version": candidate.version,
        "run_id": candidate.run_id,
        "golden_accuracy": candidate.scores.accuracy,
        "gate": verdict.outcome,
        "reasons": verdict.reasons,
        "labels": outcome.label_summary,
        "promoted": promoted,
        "seconds": round(candidate.seconds, 1),
    } | ({} if found is None else {"search": {"best": asdict(found.best_trial), "trials": len(found.trials)}})
    sentence = (
        f"version {candidate.version} of {context.pipeline.name}: golden accuracy "
        f"{candidate.scores.accuracy:.2%}; gate: {verdict.outcome}; "
        + ("it is champion now" if promoted else "it is challenger, the champion stays")
    )
    lines = [sentence, *verdict.reasons, *filter(None, [outcome.label_summary])]
    echo(value, "\n".join(map(escape_controls, lines)), as_json)


def queue_retraining(reason: str, wait: bool, dry_run: bool, pipeline: str | None, as_json: bool) -> None:
    """`platform retrain`."""
    context = create_context(load_settings(pipeline=pipeline))
    now = context.clock()
    with context.database.write() as connection:
        queued, fresh = retraining_queue.request(
            connection,
            pipeline=context.pipeline.name,
            reason=reason,
            trigger="manual",
            requested_by="cli",
            now=now,
            dry_run=dry_run,
        )
        audit_entries.append(connection, "cli", "ask-retrain", f"retraining/{queued}", now, {"reason": reason})
        leader = leases.current_holder(connection, leader_lease_name(context.pipeline.name), now)
    if not wait:
        hint = "" if leader else "; no watcher is on duty, start `platform watch`"
        verb = "queued" if fresh else "joins the queued"
        echo(
            {"id": queued, "joined": not fresh, "watcher": leader},
            f"{verb} retraining {queued}{hint}",
            as_json,
        )
        return
    if leader is None and not as_json:
        console().print("no watcher is on duty yet: waiting for `platform watch`", markup=False)
    row = wait_until_closed(context, queued, quiet=as_json)
    echo(to_jsonable(row), _outcome_text(row), as_json)
    raise typer.Exit(0 if row.state == "succeeded" else EXIT_FAILED)


def cancel_by_id(retraining_id: str, as_json: bool) -> None:
    """`platform retrain --cancel`."""
    context = create_context(load_settings())
    with context.database.read() as connection:
        found = resolve_id(connection, "retraining", retraining_id)
    cancel_retraining(context, found, "cli")
    echo({"id": found, "state": "cancelled"}, f"retraining {found} is cancelled", as_json)


def wait_until_closed(context: AppContext, retraining_id: str, *, quiet: bool) -> retraining_queue.Retraining:
    """Show a retraining's progress until it is closed."""
    with ProgressBar("retraining", quiet=quiet) as bar:
        while True:
            with context.database.read() as connection:
                row = retraining_queue.find(connection, retraining_id)
            if row.state not in retraining_queue.OPEN_STATES:
                return row
            progress = row.progress or {}
            bar.update(progress.get("epoch", 0), progress.get("epochs", 1), _progress_text(row))
            time.sleep(POLL_SECONDS)


def _progress_text(row: retraining_queue.Retraining) -> str:
    """What a retraining does now, in a few words."""
    progress = row.progress or {}
    words = [row.state if row.state == "queued" else progress.get("step", "starting")]
    if "validation_accuracy" in progress:
        words.append(f"validation accuracy {progress['validation_accuracy']:.3f}")
    return ", ".join(words)


def evaluate_rules(as_json: bool) -> None:
    """`platform check`."""
    from mlplatform.monitoring.evaluate import evaluate
    from mlplatform.monitoring.evaluation_report import write_report

    context = create_context(load_settings())
    made = [(rule, evaluate(context, rule, context.clock())) for rule in context.rules.rules]
    rows = [to_jsonable(write_report(context, rule, each)) for rule, each in made if each is not None]
    if not rows:
        raise NotFoundError("there is no champion to check; `platform train` makes the first one")
    if as_json:
        print_json(rows)
    else:
        shown = [
            {"rule": row["rule"], **finding, "report": row["report"]} for row in rows for finding in row["findings"]
        ]
        print_table("check", shown, ("rule", "key", "state", "sentence", "report"), "no findings")
    raise typer.Exit(EXIT_BREACH if any(row["state"] == "breach" for row in rows) else 0)


def print_status(everything: bool, as_json: bool) -> None:
    """`platform status`."""
    from mlplatform.cli.status import print_all, print_screen

    shown = platform_status(create_context(load_settings()))
    if as_json:
        print_json(shown)
    elif everything:
        print_all(shown)
    else:
        print_screen(shown)


def _search_recipe(context: AppContext, base: "Recipe", trials: int, quiet: bool) -> "SearchResult":
    """The best recipe of a search on base rows; its study is kept in the home folder and goes on with each call."""
    from pipelines.training.recipe_search import search
    from pipelines.training.training_mix import subsample

    split = context.pipeline.load(context.settings.data_dir)
    with ProgressBar("searching", quiet=quiet) as bar:
        done = itertools.count(1)
        return search(
            context.pipeline,
            base,
            subsample(split.train, base.max_train_rows),
            split.validation,
            context.tracking,
            storage=f"sqlite:///{context.settings.home.resolve() / 'search.db'}",
            trials=trials,
            seed=context.settings.seed,
            device=context.settings.training_device,
            on_trial=lambda t: bar.update(next(done), trials, f"trial {t.number} {t.state}"),
        )


def fetch_data(name: str, folder: Path, output: "Console | None") -> list[Path]:
    """`platform data fetch`."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from pipelines.datasets import download
    from pipelines.errors import MissingDataError

    try:
        wanted = download.find_source(name)
    except MissingDataError as error:
        raise NotFoundError(str(error)) from error
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=output, disable=output is None) as bars:
        tasks = {file: bars.add_task(file, total=None, state="waiting") for file in wanted.checksums}

        def told(news: download.DownloadProgress) -> None:
            bars.update(tasks[news.file], completed=news.bytes_done, total=news.bytes_total, state=news.state)

        return list(
            run_with_deadline(FETCH_TIMEOUT_SECONDS, partial(download.fetch, wanted, folder, progress=told), "fetch")
        )


def _outcome_text(row: retraining_queue.Retraining) -> str:
    if row.state != "succeeded":
        return escape_controls(f"retraining {row.id} {row.state}: {row.error or 'no candidate'}")
    lines = [*(row.verdict or {}).get("reasons", []), *filter(None, [usage_sentence(row.verdict)])]
    reasons = "\n".join(escape_controls(str(line)) for line in lines)
    became = "is champion now" if row.promoted else "stays challenger"
    return f"version {row.candidate_version} {became}\n{reasons}"


class ProgressBar:
    """A progress bar on stderr, or nothing."""

    def __init__(self, title: str, *, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from mlplatform.host.console import SafeConsole

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._progress = Progress(*columns, console=SafeConsole(stderr=True), disable=quiet)
        self._task = self._progress.add_task(title, total=1, note="")

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, total=total, note=escape_controls(note))

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *_exit: Any) -> None:  # noqa: ANN401 - the protocol's types
        self._progress.stop()
