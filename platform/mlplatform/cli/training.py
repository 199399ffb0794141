"""`platform train` and `platform retrain`: train in this process, or queue a retraining and follow it."""

import itertools
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mlplatform.cli.exit_codes import EXIT_FAILED
from mlplatform.cli.output import ProgressBar
from mlplatform.context import AppContext, create_context
from mlplatform.host.console import console, echo
from mlplatform.host.control_characters import escape_controls
from mlplatform.operations.operator_actions import cancel_retraining, request_retraining
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import usage_sentence
from mlplatform.serialization import to_jsonable
from mlplatform.settings import load_settings
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease_name
from mlplatform.store.short_ids import resolve_id

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline
    from pipelines.recipe import Recipe
    from pipelines.training.recipe_search import SearchResult

POLL_SECONDS = 0.5


def run_training(
    pipeline: str | None, recipe: str | None, reason: str, data_dir: Path | None, trials: int, as_json: bool
) -> None:
    """`platform train`."""
    from mlplatform.retraining.training_pipeline import training_pipeline
    from mlplatform.retraining.worker import training_worker

    context = create_context(load_settings(pipeline=pipeline, data_dir=data_dir))
    worker, family = training_worker(context), training_pipeline(context.settings)
    chosen = worker.inputs.select_recipe(family, recipe)
    search = _search_recipe(context, family, chosen, trials, as_json) if trials else None
    with ProgressBar("training", quiet=as_json) as bar:
        outcome = worker.train(
            family,
            reason,
            "cli",
            recipe=chosen if search is None else search.recipe,
            on_epoch=lambda m: bar.update(m.epoch, m.epochs, f"validation accuracy {m.validation_accuracy:.3f}"),
        )
    candidate, verdict = outcome.candidate, outcome.candidate.verdict
    promoted, approval = outcome.promotion is not None, outcome.approval
    ending = "it is champion now" if promoted else "it is challenger, the champion stays"
    if approval is not None:
        ending = (
            f"it waits for approval until {approval.expires_at:%Y-%m-%d %H:%M} UTC: "
            f"`platform models approve {candidate.version}`"
        )
    value = {
        "model": context.model_name,
        "version": candidate.version,
        "run_id": candidate.run_id,
        "golden_accuracy": candidate.scores.accuracy,
        "gate": verdict.outcome,
        "reasons": verdict.reasons,
        "labels": outcome.label_summary,
        "promoted": promoted,
        "waits_for_approval": approval is not None,
        "seconds": round(candidate.seconds, 1),
    } | ({} if search is None else {"search": {"best": asdict(search.best_trial), "trials": len(search.trials)}})
    sentence = (
        f"version {candidate.version} of {context.model_name}: golden accuracy "
        f"{candidate.scores.accuracy:.2%}; gate: {verdict.outcome}; {ending}"
    )
    lines = [sentence, *verdict.reasons, *filter(None, [outcome.label_summary])]
    echo(value, "\n".join(map(escape_controls, lines)), as_json)


def queue_retraining(reason: str, wait: bool, dry_run: bool, pipeline: str | None, as_json: bool) -> None:
    """`platform retrain`."""
    from pipelines.discovery import locate_pipeline

    if pipeline is not None:
        locate_pipeline(pipeline)  # a name that nobody knows is refused now, and not by the watcher's worker
    context = create_context(load_settings(pipeline=pipeline))
    queued, fresh = request_retraining(context, reason, "cli", dry_run=dry_run)
    with context.database.read() as connection:
        leader = leases.current_holder(connection, leader_lease_name(context.model_name), context.clock())
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
        full_id = resolve_id(connection, "retraining", retraining_id)
    cancel_retraining(context, full_id, "cli")
    echo({"id": full_id, "state": "cancelled"}, f"retraining {full_id} is cancelled", as_json)


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


def _search_recipe(
    context: AppContext, pipeline: "Pipeline", base: "Recipe", trials: int, quiet: bool
) -> "SearchResult":
    """The best recipe of a search on base rows; its study is kept in the home folder and goes on with each call."""
    from pipelines.recipe import network_recipe
    from pipelines.training.recipe_search import search
    from pipelines.training.training_mix import subsample

    split = pipeline.load(context.settings.data_dir)
    with ProgressBar("searching", quiet=quiet) as bar:
        done = itertools.count(1)
        return search(
            pipeline,
            network_recipe(base),
            subsample(split.train, base.max_train_rows),
            split.validation,
            context.tracking,
            storage=f"sqlite:///{context.settings.home.resolve() / 'search.db'}",
            trials=trials,
            seed=context.settings.seed,
            device=context.settings.training_device,
            on_trial=lambda t: bar.update(next(done), trials, f"trial {t.number} {t.state}"),
        )


def _outcome_text(row: retraining_queue.Retraining) -> str:
    if row.state != "succeeded":
        return escape_controls(f"retraining {row.id} {row.state}: {row.error or 'no candidate'}")
    lines = [*(row.verdict or {}).get("reasons", []), *filter(None, [usage_sentence(row.verdict)])]
    reasons = "\n".join(escape_controls(str(line)) for line in lines)
    became = "is champion now" if row.promoted else "stays challenger"
    return f"version {row.candidate_version} {became}\n{reasons}"
