"""The longer commands: training, queueing, checking, fetching; each builds once, calls, prints."""

import itertools
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlplatform.audit import audit_entries
from mlplatform.cli.exit_codes import BREACH, FAILED
from mlplatform.cli.output import print_table
from mlplatform.context import Parts, build
from mlplatform.errors import NotFoundError
from mlplatform.host.console import console, print_json, say
from mlplatform.host.control_characters import escape_controls
from mlplatform.network.deadline import within
from mlplatform.operations.operator_actions import cancel_retraining
from mlplatform.operations.queries import status
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import sentence_of
from mlplatform.serialization import plain
from mlplatform.settings import load_settings
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease
from mlplatform.store.short_ids import whole_id

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.recipe import Recipe
    from pipelines.training.recipe_search import Found

POLL_SECONDS = 0.5
FETCH_SECONDS = 3600.0
"""A data set is fetched within this time, or not: a mirror may send a byte now and then."""


def train_now(
    pipeline: str | None, recipe: str | None, reason: str, data_dir: Path | None, trials: int, as_json: bool
) -> None:
    """`platform train`."""
    from mlplatform.retraining.worker import recipe_of, train

    parts = build(load_settings(pipeline=pipeline, data_dir=data_dir))
    chosen = recipe_of(parts, parts.family, recipe)
    found = _searched(parts, chosen, trials, as_json) if trials else None
    with Bar("training", quiet=as_json) as bar:
        outcome = train(
            parts,
            parts.family,
            reason,
            "cli",
            recipe=chosen if found is None else found.recipe,
            on_epoch=lambda m: bar.at(m.epoch, m.epochs, f"validation accuracy {m.validation_accuracy:.3f}"),
        )
    candidate, verdict = outcome.candidate, outcome.candidate.verdict
    promoted = outcome.promotion is not None
    value = {
        "model": parts.family.name,
        "version": candidate.version,
        "run_id": candidate.run_id,
        "golden_accuracy": candidate.judgement.accuracy,
        "gate": verdict.outcome,
        "reasons": verdict.reasons,
        "labels": outcome.labels,
        "promoted": promoted,
        "seconds": round(candidate.seconds, 1),
    } | ({} if found is None else {"search": {"best": asdict(found.best), "trials": len(found.trials)}})
    sentence = (
        f"version {candidate.version} of {parts.family.name}: golden accuracy "
        f"{candidate.judgement.accuracy:.2%}; gate: {verdict.outcome}; "
        + ("it is champion now" if promoted else "it is challenger, the champion stays")
    )
    lines = [sentence, *verdict.reasons, *filter(None, [outcome.labels])]
    say(value, "\n".join(map(escape_controls, lines)), as_json)


def retrain_queued(reason: str, wait: bool, dry_run: bool, pipeline: str | None, as_json: bool) -> None:
    """`platform retrain`."""
    parts = build(load_settings(pipeline=pipeline))
    now = parts.clock()
    with parts.database.write() as connection:
        queued, fresh = retraining_queue.request(
            connection,
            pipeline=parts.family.name,
            reason=reason,
            trigger="manual",
            requested_by="cli",
            now=now,
            dry_run=dry_run,
        )
        audit_entries.note(connection, "cli", "ask-retrain", f"retraining/{queued}", now, {"reason": reason})
        leader = leases.holder(connection, leader_lease(parts.family.name), now)
    if not wait:
        hint = "" if leader else "; no watcher is on duty, start `platform watch`"
        verb = "queued" if fresh else "joins the queued"
        say(
            {"id": queued, "joined": not fresh, "watcher": leader},
            f"{verb} retraining {queued}{hint}",
            as_json,
        )
        return
    if leader is None and not as_json:
        console().print("no watcher is on duty yet: waiting for `platform watch`", markup=False)
    row = wait_for(parts, queued, quiet=as_json)
    say(plain(row), _outcome(row), as_json)
    raise typer.Exit(0 if row.state == "succeeded" else FAILED)


def cancel(retraining_id: str, as_json: bool) -> None:
    """`platform retrain --cancel`."""
    parts = build(load_settings())
    with parts.database.read() as connection:
        found = whole_id(connection, "retraining", retraining_id)
    cancel_retraining(parts, found, "cli")
    say({"id": found, "state": "cancelled"}, f"retraining {found} is cancelled", as_json)


def wait_for(parts: Parts, retraining_id: str, *, quiet: bool) -> retraining_queue.Retraining:
    """Show a retraining's progress until it is closed."""
    with Bar("retraining", quiet=quiet) as bar:
        while True:
            with parts.database.read() as connection:
                row = retraining_queue.find(connection, retraining_id)
            if row.state not in retraining_queue.OPEN:
                return row
            progress = row.progress or {}
            bar.at(progress.get("epoch", 0), progress.get("epochs", 1), _note(row))
            time.sleep(POLL_SECONDS)


def _note(row: retraining_queue.Retraining) -> str:
    """What a retraining does now, in a few words."""
    progress = row.progress or {}
    words = [row.state if row.state == "queued" else progress.get("step", "starting")]
    if "validation_accuracy" in progress:
        words.append(f"validation accuracy {progress['validation_accuracy']:.3f}")
    return ", ".join(words)


def check_now(as_json: bool) -> None:
    """`platform check`."""
    from mlplatform.monitoring.evaluate import turn
    from mlplatform.monitoring.rule_inputs import examine

    parts = build(load_settings())
    made = [(rule, turn(parts, rule, parts.clock())) for rule in parts.rules.rules]
    rows = [plain(examine(parts, rule, each)) for rule, each in made if each is not None]
    if not rows:
        raise NotFoundError("there is no champion to check; `platform train` makes the first one")
    if as_json:
        print_json(rows)
    else:
        shown = [
            {"rule": row["rule"], **finding, "report": row["report"]} for row in rows for finding in row["findings"]
        ]
        print_table("check", shown, ("rule", "key", "state", "sentence", "report"), "no findings")
    raise typer.Exit(BREACH if any(row["state"] == "breach" for row in rows) else 0)


def show_status(everything: bool, as_json: bool) -> None:
    """`platform status`."""
    from mlplatform.cli.status import show_all, show_screen

    shown = status(build(load_settings()))
    if as_json:
        print_json(shown)
    elif everything:
        show_all(shown)
    else:
        show_screen(shown)


def _searched(parts: Parts, base: "Recipe", trials: int, quiet: bool) -> "Found":
    """The best recipe of a search on base rows; its study is kept in the home folder and goes on with each call."""
    from pipelines.training.recipe_search import search
    from pipelines.training.training_mix import capped

    split = parts.family.load(parts.settings.data_dir)
    with Bar("searching", quiet=quiet) as bar:
        done = itertools.count(1)
        return search(
            parts.family,
            base,
            capped(split.train, base.max_train_rows),
            split.validation,
            parts.tracking,
            storage=f"sqlite:///{parts.settings.home.resolve() / 'search.db'}",
            trials=trials,
            seed=parts.settings.seed,
            device=parts.settings.training_device,
            on_trial=lambda t: bar.at(next(done), trials, f"trial {t.number} {t.state}"),
        )


def fetch_data(name: str, folder: Path, shown: "Console | None") -> list[Path]:
    """`platform data fetch`."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from pipelines.datasets import download
    from pipelines.errors import MissingDataError

    try:
        wanted = download.source(name)
    except MissingDataError as error:
        raise NotFoundError(str(error)) from error
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=shown, disable=shown is None) as bars:
        tasks = {file: bars.add_task(file, total=None, state="waiting") for file in wanted.sums}

        def told(news: download.News) -> None:
            bars.update(tasks[news.file], completed=news.done, total=news.total, state=news.state)

        return list(within(FETCH_SECONDS, partial(download.fetch, wanted, folder, progress=told), "fetch"))


def _outcome(row: retraining_queue.Retraining) -> str:
    if row.state != "succeeded":
        return escape_controls(f"retraining {row.id} {row.state}: {row.error or 'no candidate'}")
    lines = [*(row.verdict or {}).get("reasons", []), *filter(None, [sentence_of(row.verdict)])]
    reasons = "\n".join(escape_controls(str(line)) for line in lines)
    became = "is champion now" if row.promoted else "stays challenger"
    return f"version {row.candidate_version} {became}\n{reasons}"


class Bar:
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

    def at(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, total=total, note=escape_controls(note))

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_exit: Any) -> None:  # noqa: ANN401 - the protocol's types
        self._progress.stop()
