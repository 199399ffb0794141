"""Trainings carried out: rows gathered from the store, a candidate made, the winner promoted; it queues nothing.

Two doors: `train` by hand, and `work` for a queued retraining in a process of its own.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mlplatform.alerting import alert_records
from mlplatform.clock import uuid7
from mlplatform.context import AppContext
from mlplatform.errors import FencedError, StoreUnavailableError
from mlplatform.promotion import promotion_history, retraining_fence
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import label_usage, usage_sentence
from mlplatform.retraining.memory_limit import describe_failure, remove_limit
from mlplatform.retraining.training_labels import (
    TrainingLabels,
    label_quotas,
    load_training_labels,
    open_label_review,
    retraining_policy,
)
from mlplatform.retraining.withdrawal import RETRAINING_TAG, withdraw_versions
from mlplatform.serialization import to_jsonable
from mlplatform.store.timeouts import long_statements
from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.row_selection import Rows
from pipelines.candidate.training_spec import TrainingSpec, load_champion
from pipelines.discovery import find_pipeline
from pipelines.errors import TrainingStopped
from pipelines.pipeline import Pipeline
from pipelines.recipe import Recipe
from pipelines.training.training_loop import EpochMetrics
from registry.errors import RegistryError
from registry.gate.verdict import GatePolicy
from registry.model_package import MODEL_FILE
from registry.run_provenance import MANUAL_TRIGGER, git_revision, provenance_tags
from registry.store_retries import retry_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training led to."""

    candidate: Candidate
    promotion: promotion_history.Promotion | None
    label_summary: str = ""
    """What became of the labels, in a sentence."""


@long_statements()
def train(
    context: AppContext,
    pipeline: Pipeline,
    reason: str,
    actor: str,
    *,
    recipe: Recipe | str | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
) -> TrainingOutcome:
    """Make a version by hand from base data and feedback; the winner of the gate becomes champion."""
    order, material, expected = _training_spec(
        context, pipeline, reason, recipe, provenance_tags(MANUAL_TRIGGER, code_revision())
    )

    used: dict[str, Any] = {}

    def chosen(rows: Rows) -> None:
        used["labels"] = _label_usage(rows, material)
        with context.database.write() as connection:
            open_label_review(connection, context, pipeline.name, f"label-review/{uuid7()}", material, rows.excluded)

    with retry_for(context.settings.mlflow_patience_seconds):
        candidate = make_candidate(order, context.tracking, context.catalog, on_rows=chosen, on_epoch=on_epoch)
        verdict = to_jsonable(candidate.verdict) | used
        promotion = _promote(context, pipeline, candidate, verdict, expected, actor, reason, None)
    return TrainingOutcome(candidate, promotion, usage_sentence(verdict))


@long_statements()
def run_retraining(
    context: AppContext, retraining_id: str, owner: str, find_pipeline: Callable[[str], Pipeline] = find_pipeline
) -> retraining_queue.RetrainingState:
    """Carry out a retraining that this process owns, with a heartbeat; returns the state it ended in."""
    pulse = RetrainingHeartbeat(context, retraining_id, owner)
    pulse.start()
    try:
        return _run_retraining(context, retraining_id, owner, pulse, find_pipeline)
    except (FencedError, TrainingStopped) as error:
        log.warning("retraining %s stops: %s", retraining_id, error)
        return _handle_stop(context, retraining_id, owner, str(error))
    except Exception as error:  # a process's edge: whatever ends it is what people find in the row
        remove_limit()
        log.exception("retraining %s failed", retraining_id)
        _close_retraining(
            context, retraining_id, owner, "failed", error=describe_failure(error, context.settings.training_memory_mb)
        )
        return "failed"
    finally:
        pulse.close()


def _handle_stop(context: AppContext, retraining_id: str, owner: str, error: str) -> retraining_queue.RetrainingState:
    """Take back what a retraining that was closed has registered; one that is open still is closed as failed."""
    with context.database.read() as connection:
        row = retraining_queue.find(connection, retraining_id)
    if row.state == "running":
        _close_retraining(context, retraining_id, owner, "failed", error=error)
        return "failed"
    try:
        withdraw_versions(context, row, f"retraining/{row.id}")
    except RegistryError as failed:
        log.warning("what retraining %s registered is left to the watcher: %s", row.id, failed)
    return "cancelled"


def _run_retraining(
    context: AppContext,
    retraining_id: str,
    owner: str,
    heartbeat: "RetrainingHeartbeat",
    find_pipeline: Callable[[str], Pipeline],
) -> retraining_queue.RetrainingState:
    with context.database.read() as connection:
        row = retraining_queue.find(connection, retraining_id)
    tags = {**provenance_tags(row.alert_id or row.trigger, code_revision()), RETRAINING_TAG: row.id}
    family = find_pipeline(row.pipeline)
    heartbeat.set_step("gathering labels")
    order, material, expected = _training_spec(context, family, row.reason, None, tags, _errors_since(context, row))
    heartbeat.set_step("choosing rows")
    used: dict[str, Any] = {}

    def chosen(rows: Rows) -> None:
        used["labels"] = _label_usage(rows, material)
        with context.database.write() as connection:
            retraining_fence.require_running(connection, retraining_id, owner)
            open_label_review(connection, context, family.name, f"label-review/{row.id}", material, rows.excluded)
        heartbeat.set_step("training")

    def started(run_id: str) -> None:
        with context.database.write() as connection:
            retraining_queue.record_run(connection, retraining_id, owner, run_id)

    with retry_for(context.settings.mlflow_patience_seconds):
        candidate = make_candidate(
            order,
            context.tracking,
            context.catalog,
            on_rows=chosen,
            on_start=started,
            on_epoch=heartbeat.report_epoch,
            should_stop=heartbeat.ownership_lost.is_set,
            is_wanted=heartbeat.owns_retraining,
        )
        promotion, verdict = None, to_jsonable(candidate.verdict) | used
        if not (row.dry_run or (row.trigger == "alert" and context.rules.retraining.dry_run)):
            actor = f"retraining/{row.id}"
            promotion = _promote(context, family, candidate, verdict, expected, actor, row.reason, (row.id, owner))
    try:
        with context.database.write() as connection:
            retraining_queue.finish(
                connection,
                retraining_id,
                owner,
                "succeeded",
                context.clock(),
                candidate_version=candidate.version,
                verdict=verdict,
                promoted=promotion is not None,
            )
    except FencedError:
        if promotion is None:
            raise
        log.warning("retraining %s has promoted its candidate and was closed as succeeded by another", retraining_id)
    return "succeeded"


def _training_spec(
    context: AppContext,
    pipeline: Pipeline,
    reason: str,
    recipe: Recipe | str | None,
    tags: dict[str, str],
    since: datetime | None = None,
) -> tuple[TrainingSpec, TrainingLabels, int | None]:
    promotion_service(context).sync_quarantine_tags(
        pipeline.name, all_versions=True
    )  # the gate's record goes by the registry's tags
    current = promotion_service(context).current(pipeline.name)
    champion = None
    if current is not None:
        champion = load_champion(context.catalog, pipeline, current.to_version, context.model_cache, MODEL_FILE)
    limits = retraining_policy(context, pipeline)
    material = load_training_labels(context, pipeline, limits.group_by, limits.quotas.trusted)
    order = TrainingSpec(
        pipeline=pipeline,
        recipe=recipe if isinstance(recipe, Recipe) else select_recipe(context, pipeline, recipe),
        split=pipeline.load(context.settings.data_dir),
        feedback=material.rows,
        champion=champion,
        seed=context.settings.seed,
        reason=reason,
        tags=tags,
        policy=GatePolicy(golden_margin=context.settings.gate_margin_points / 100),
        origins=material.origins,
        quotas=label_quotas(limits),
        group_tags=material.groups,
        unusable=material.unusable,
        recent_images=material.inputs_since(since),
        checkpoint_folder=context.settings.home / "checkpoints",
        device=context.settings.training_device,
        external_datasets=pipeline.external_datasets(context.settings.data_dir),
    )
    return order, material, None if current is None else current.to_version


def _label_usage(rows: Rows, training_labels: TrainingLabels) -> dict[str, Any] | None:
    """What becomes of the labels there are, for the verdict."""
    trained, judged = (0 if side is None else len(side) for side in (rows.feedback, rows.holdout))
    return label_usage(len(training_labels.records_by_id), trained, judged, rows.excluded)


def select_recipe(context: AppContext, pipeline: Pipeline, name: str | None = None) -> Recipe:
    """The recipe of this name, or the settings' one, or the family's own."""
    return pipeline.recipe(name or context.settings.recipe or None)


def _errors_since(context: AppContext, row: retraining_queue.Retraining) -> datetime | None:
    """Since when answers have been bad, by the alerts that asked for the retraining."""
    with context.database.read() as connection:
        return alert_records.earliest_change_point(connection, retraining_queue.alerts_of(row))


def code_revision() -> str | None:
    """The git revision of this code, None where it is installed without its checkout."""
    return git_revision(Path(__file__).parent)


def _promote(
    context: AppContext,
    pipeline: Pipeline,
    candidate: Candidate,
    verdict: Mapping[str, Any],
    expected: int | None,
    actor: str,
    reason: str,
    retraining: tuple[str, str] | None,
) -> promotion_history.Promotion | None:
    if candidate.verdict.outcome != "promote":
        return None
    kind: promotion_history.PromotionKind = "first" if expected is None else "promote"
    change = PromotionRequest(
        pipeline.name,
        candidate.version,
        expected,
        kind,
        actor,
        reason,
        verdict=verdict,
        retraining=retraining,
    )
    return promotion_service(context).promote(change)


def _close_retraining(
    context: AppContext,
    retraining_id: str,
    owner: str,
    state: retraining_queue.RetrainingState,
    **values: Any,  # noqa: ANN401 - passed on as they are
) -> None:
    try:
        with context.database.write() as connection:
            retraining_queue.finish(connection, retraining_id, owner, state, context.clock(), **values)
    except FencedError as error:
        log.warning("%s", error)


@dataclass
class RetrainingHeartbeat:
    """The heartbeat of a running retraining; ends the process when its parent died, stops when it lost its row."""

    context: AppContext
    retraining_id: str
    owner: str
    ownership_lost: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _progress: dict[str, Any] | None = None
    _parent: int = field(default_factory=os.getppid)

    def start(self) -> None:
        """Begin beating from a thread of its own."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def close(self) -> None:
        """Beat no more."""
        self._stopping.set()

    def set_step(self, step: str) -> None:
        """Remember what is being done; the next beat carries it."""
        self._progress = {"step": step}

    def owns_retraining(self) -> bool:
        """Whether the row is still this process's, asked afresh; a database that is away is waited for a while."""
        for patience in (True, True, True, False):
            try:
                with self.context.database.write() as connection:
                    retraining_fence.require_running(connection, self.retraining_id, self.owner)
                return not self.ownership_lost.is_set()
            except FencedError:
                self.ownership_lost.set()
            except StoreUnavailableError:
                if not patience:
                    raise
            if self.ownership_lost.wait(self.context.settings.heartbeat_seconds):
                return False
        return False

    def report_epoch(self, metrics: EpochMetrics) -> None:
        """Remember how far the training is; the next beat carries it."""
        self._progress = {
            "step": "training" if metrics.epoch < metrics.epochs else "judging",
            "epoch": metrics.epoch,
            "epochs": metrics.epochs,
            "validation_accuracy": round(metrics.validation_accuracy, 4),
        }

    def _run(self) -> None:
        while not self._stopping.wait(self.context.settings.heartbeat_seconds):
            if os.getppid() != self._parent:
                log.error("the watcher that started this retraining died; ending with it")
                os._exit(75)
            try:
                with self.context.database.write() as connection:
                    retraining_queue.record_heartbeat(
                        connection, self.retraining_id, self.owner, self.context.clock(), self._progress
                    )
            except FencedError as error:
                log.warning("%s", error)
                self.ownership_lost.set()
                return
            except (StoreUnavailableError, MemoryError) as error:  # the next beat may find it better
                log.warning("no heartbeat: %s", error)
