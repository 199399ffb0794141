"""Carries trainings out: labels read from the store, a candidate trained and compared, the winner promoted.

`TrainingWorker.train` trains by hand, `TrainingWorker.run_retraining` carries out a queued retraining in a process of
its own.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import alert_records
from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, FencedError
from mlplatform.ids import uuid7
from mlplatform.promotion.promotion_history import Promotion, PromotionKind
from mlplatform.promotion.promotion_service import PromotionRequest, PromotionService, promotion_service
from mlplatform.promotion.rollout_service import replace_shadow
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.heartbeat import RetrainingHeartbeat
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
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.timeouts import long_statements
from monitors.rules.alerts_config import AlertsConfig
from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.row_selection import Rows
from pipelines.candidate.training_spec import TrainingSpec, load_champion
from pipelines.discovery import find_pipeline
from pipelines.errors import TrainingStopped
from pipelines.pipeline import Pipeline
from pipelines.recipe import Recipe
from pipelines.training.training_loop import EpochMetrics
from registry.catalog import Catalog
from registry.errors import RegistryError
from registry.gate.verdict import GatePolicy
from registry.mlflow_connection import retry_for
from registry.model_package import MODEL_FILE
from registry.runs import MANUAL_TRIGGER, TrackingStore, git_revision, provenance_tags

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training led to; `label_summary` says what became of the labels, in a sentence."""

    candidate: Candidate
    promotion: Promotion | None
    label_summary: str = ""


@dataclass(frozen=True)
class _TrainingInputs:
    """What a candidate is made from: its specification, the labels it draws on, the champion it is compared with."""

    spec: TrainingSpec
    labels: TrainingLabels
    champion_version: int | None


@dataclass(frozen=True)
class TrainingWorker:
    """Trains candidates in this process and promotes those that pass the gate; `load_rules` reads alerts.yaml."""

    settings: Settings
    clock: Clock
    database: Database
    tracking: TrackingStore
    catalog: Catalog
    promotions: PromotionService
    load_rules: Callable[[], AlertsConfig]
    model_cache: Path
    try_in_shadow: Callable[[int, str, str], object]
    """Begins the shadow of a version, on behalf of an actor and for a reason."""

    @long_statements()
    def train(
        self,
        pipeline: Pipeline,
        reason: str,
        actor: str,
        *,
        recipe: Recipe | str | None = None,
        on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    ) -> TrainingOutcome:
        """Train a version by hand from base data and feedback; the winner of the gate becomes champion."""
        tags = provenance_tags(MANUAL_TRIGGER, code_revision())
        inputs = self._training_inputs(pipeline, reason, recipe, tags)
        usage: dict[str, Any] = {}

        def on_rows(rows: Rows) -> None:
            usage["labels"] = _label_usage(rows, inputs.labels)
            with self.database.write() as connection:
                key = f"label-review/{uuid7()}"
                open_label_review(connection, pipeline.name, key, inputs.labels, rows.excluded, self.clock())

        with retry_for(self.settings.mlflow_patience_seconds):
            candidate = make_candidate(inputs.spec, self.tracking, self.catalog, on_rows=on_rows, on_epoch=on_epoch)
            verdict = to_jsonable(candidate.verdict) | usage
            promotion = self._promote_winner(pipeline, candidate, verdict, inputs.champion_version, actor, reason)
        return TrainingOutcome(candidate, promotion, usage_sentence(verdict))

    @long_statements()
    def run_retraining(
        self, retraining_id: str, owner: str, find_pipeline: Callable[[str], Pipeline] = find_pipeline
    ) -> retraining_queue.RetrainingState:
        """Carry out a retraining that this process owns, with a heartbeat; returns the state it ended in."""
        interval = self.settings.heartbeat_seconds
        heartbeat = RetrainingHeartbeat(self.database, self.clock, interval, retraining_id, owner)
        heartbeat.start()
        try:
            return self._run_retraining(retraining_id, owner, heartbeat, find_pipeline)
        except (FencedError, TrainingStopped) as error:
            log.warning("retraining %s stops: %s", retraining_id, error)
            return self._handle_stop(retraining_id, owner, str(error))
        except Exception as error:  # a process's edge: whatever ends it is what people find in the row
            remove_limit()
            log.exception("retraining %s failed", retraining_id)
            self._close_failed(retraining_id, owner, describe_failure(error, self.settings.training_memory_mb))
            return "failed"
        finally:
            heartbeat.close()

    def select_recipe(self, pipeline: Pipeline, name: str | None = None) -> Recipe:
        """The recipe of this name, or the settings' one, or the pipeline's own."""
        return pipeline.recipe(name or self.settings.recipe or None)

    def _run_retraining(
        self,
        retraining_id: str,
        owner: str,
        heartbeat: RetrainingHeartbeat,
        find_pipeline: Callable[[str], Pipeline],
    ) -> retraining_queue.RetrainingState:
        # 1. What was asked for, and since when predictions have been bad.
        with self.database.read() as connection:
            row = retraining_queue.find(connection, retraining_id)
            errors_since = alert_records.earliest_change_point(connection, retraining_queue.alerts_of(row))
        tags = {**provenance_tags(row.alert_id or row.trigger, code_revision()), RETRAINING_TAG: row.id}
        pipeline = find_pipeline(row.pipeline)
        # 2. The labels there are, and the champion to compare with.
        heartbeat.set_step("gathering labels")
        inputs = self._training_inputs(pipeline, row.reason, None, tags, errors_since)
        heartbeat.set_step("choosing rows")
        usage: dict[str, Any] = {}

        def on_rows(rows: Rows) -> None:
            usage["labels"] = _label_usage(rows, inputs.labels)
            with self.database.write() as connection:
                retraining_queue.require_running(connection, retraining_id, owner)
                key = f"label-review/{row.id}"
                open_label_review(connection, pipeline.name, key, inputs.labels, rows.excluded, self.clock())
            heartbeat.set_step("training")

        def on_start(run_id: str) -> None:
            with self.database.write() as connection:
                retraining_queue.record_run(connection, retraining_id, owner, run_id)

        # 3. The candidate, its verdict, and its promotion where the gate lets it pass.
        with retry_for(self.settings.mlflow_patience_seconds):
            candidate = make_candidate(
                inputs.spec,
                self.tracking,
                self.catalog,
                on_rows=on_rows,
                on_start=on_start,
                on_epoch=heartbeat.report_epoch,
                should_stop=heartbeat.ownership_lost.is_set,
                is_wanted=heartbeat.owns_retraining,
            )
            promotion, verdict = None, to_jsonable(candidate.verdict) | usage
            if not (row.dry_run or (row.trigger == "alert" and self.load_rules().retraining.dry_run)):
                promotion = self._promote_winner(
                    pipeline,
                    candidate,
                    verdict,
                    inputs.champion_version,
                    f"retraining/{row.id}",
                    row.reason,
                    retraining_id=row.id,
                    precondition=retraining_queue.ownership_check(row.id, owner),
                )
        # 4. The ending; where the promotion stands, another process may have written it already.
        try:
            with self.database.write() as connection:
                retraining_endings.finish(
                    connection,
                    retraining_id,
                    owner,
                    "succeeded",
                    self.clock(),
                    candidate_version=candidate.version,
                    verdict=verdict,
                    promoted=promotion is not None,
                )
        except FencedError:
            if promotion is None:
                raise
            log.warning(
                "retraining %s has promoted its candidate and was closed as succeeded by another", retraining_id
            )
        # 5. What the gate could not settle, labels may: they are drawn where candidate and champion differ.
        if candidate.verdict.outcome == "inconclusive" and not row.dry_run and inputs.champion_version is not None:
            self._try_inconclusive(pipeline, candidate.version, f"retraining/{row.id}")
        return "succeeded"

    def _try_inconclusive(self, pipeline: Pipeline, version: int, actor: str) -> None:
        """Begin the candidate's shadow where alerts.yaml asks for that, and nothing else is tried."""
        policy = retraining_policy(self.settings.alerts_file, self.load_rules, pipeline.name)
        if not policy.shadow_inconclusive or policy.dry_run:
            return
        try:
            self.try_in_shadow(version, actor, "the gate was inconclusive")
        except (ConflictError, RegistryError) as error:
            log.info("version %d is not tried in the shadow: %s", version, error)

    def _handle_stop(self, retraining_id: str, owner: str, error: str) -> retraining_queue.RetrainingState:
        """Withdraw what a retraining that was closed has registered; one that is still open is closed as failed."""
        with self.database.read() as connection:
            row = retraining_queue.find(connection, retraining_id)
        if row.state == "running":
            self._close_failed(retraining_id, owner, error)
            return "failed"
        try:
            withdraw_versions(self.database, self.catalog, row, f"retraining/{row.id}", self.clock())
        except RegistryError as registry_error:
            log.warning("what retraining %s registered is left to the watcher: %s", row.id, registry_error)
        return "cancelled"

    def _close_failed(self, retraining_id: str, owner: str, error: str) -> None:
        try:
            with self.database.write() as connection:
                retraining_endings.finish(connection, retraining_id, owner, "failed", self.clock(), error=error)
        except FencedError as fenced:
            log.warning("%s", fenced)

    def _training_inputs(
        self,
        pipeline: Pipeline,
        reason: str,
        recipe: Recipe | str | None,
        tags: dict[str, str],
        errors_since: datetime | None = None,
    ) -> _TrainingInputs:
        """Read champion and labels, and write the specification of the candidate."""
        self.promotions.sync_quarantine_tags(pipeline.name, all_versions=True)  # the gate goes by the registry's tags
        current = self.promotions.current(pipeline.name)
        champion = None
        if current is not None:
            champion = load_champion(self.catalog, pipeline, current.to_version, self.model_cache, MODEL_FILE)
        policy = retraining_policy(self.settings.alerts_file, self.load_rules, pipeline.name)
        labels = load_training_labels(self.database, pipeline, policy.group_by, policy.quotas.trusted)
        spec = TrainingSpec(
            pipeline=pipeline,
            recipe=recipe if isinstance(recipe, Recipe) else self.select_recipe(pipeline, recipe),
            split=pipeline.load(self.settings.data_dir),
            feedback=labels.rows,
            champion=champion,
            seed=self.settings.seed,
            reason=reason,
            tags=tags,
            policy=GatePolicy(golden_margin=self.settings.gate_margin_points / 100),
            origins=labels.origins,
            quotas=label_quotas(policy),
            judging_shares=labels.judging_shares,
            blocks=labels.blocks(policy.block),
            group_tags=labels.groups,
            unusable=labels.unusable,
            recent_images=labels.inputs_since(errors_since),
            checkpoint_folder=self.settings.home / "checkpoints",
            device=self.settings.training_device,
            external_datasets=pipeline.external_datasets(self.settings.data_dir),
        )
        return _TrainingInputs(spec, labels, None if current is None else current.to_version)

    def _promote_winner(
        self,
        pipeline: Pipeline,
        candidate: Candidate,
        verdict: Mapping[str, Any],
        champion_version: int | None,
        actor: str,
        reason: str,
        *,
        retraining_id: str | None = None,
        precondition: Callable[[Connection], object] | None = None,
    ) -> Promotion | None:
        """Make the candidate champion where the gate says so; None where it does not."""
        if candidate.verdict.outcome != "promote":
            return None
        kind: PromotionKind = "first" if champion_version is None else "promote"
        return self.promotions.promote(
            PromotionRequest(
                pipeline.name,
                candidate.version,
                champion_version,
                kind,
                actor,
                reason,
                verdict=verdict,
                retraining_id=retraining_id,
                precondition=precondition,
            )
        )


def training_worker(context: AppContext) -> TrainingWorker:
    """The training worker of this process."""
    return TrainingWorker(
        settings=context.settings,
        clock=context.clock,
        database=context.database,
        tracking=context.tracking,
        catalog=context.catalog,
        promotions=promotion_service(context),
        load_rules=lambda: context.rules,
        model_cache=context.model_cache,
        try_in_shadow=partial(replace_shadow, context),
    )


def _label_usage(rows: Rows, training_labels: TrainingLabels) -> dict[str, Any] | None:
    """What becomes of the labels there are, for the verdict."""
    trained, evaluated = (0 if side is None else len(side) for side in (rows.feedback, rows.holdout))
    return label_usage(len(training_labels.records_by_id), trained, evaluated, rows.excluded)


def code_revision() -> str | None:
    """The git revision of this code, None where it is installed without its checkout."""
    return git_revision(Path(__file__).parent)
