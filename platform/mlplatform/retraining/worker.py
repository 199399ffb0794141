"""Carries trainings out: labels read from the store, a candidate trained and compared, the winner promoted.

`TrainingWorker.train` trains by hand, `TrainingWorker.run_retraining` carries out a queued retraining in a process of
its own.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import alert_records
from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, FencedError
from mlplatform.ids import uuid7
from mlplatform.promotion.approvals import Approval
from mlplatform.promotion.promotion_history import Promotion, PromotionKind
from mlplatform.promotion.promotion_service import PromotionRequest, PromotionService, promotion_service
from mlplatform.promotion.rollout_service import replace_shadow
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.approval_requests import new_approval, request_approval
from mlplatform.retraining.heartbeat import RetrainingHeartbeat
from mlplatform.retraining.label_use import label_usage, usage_sentence
from mlplatform.retraining.memory_limit import describe_failure, remove_limit
from mlplatform.retraining.training_inputs import TrainingInputsReader, training_inputs_reader
from mlplatform.retraining.training_labels import (
    open_label_review,
    retraining_policy,
)
from mlplatform.retraining.training_pipeline import require_model, training_pipeline
from mlplatform.retraining.training_provenance import training_tags
from mlplatform.retraining.withdrawal import RETRAINING_TAG, withdraw_versions
from mlplatform.serialization import to_jsonable
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.timeouts import long_statements
from monitors.rules.alerts_config import AlertsConfig
from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.row_selection import Rows
from pipelines.errors import TrainingStopped
from pipelines.pipeline import Pipeline
from pipelines.recipe import Recipe
from pipelines.trainer import EpochMetrics
from registry.catalog import Catalog
from registry.errors import RegistryError
from registry.mlflow_connection import retry_for
from registry.runs import MANUAL_TRIGGER, TrackingStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training led to; `label_summary` says what became of the labels, in a sentence."""

    candidate: Candidate
    promotion: Promotion | None
    label_summary: str = ""
    approval: Approval | None = None
    """What the candidate waits for where alerts.yaml wants a person's word before it is promoted."""


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
    inputs: TrainingInputsReader
    try_in_shadow: Callable[[int, str, str], object]
    """Begins the shadow of a version, on behalf of an actor and for a reason."""
    request_approval: Callable[[Connection, Approval], object]
    """Lets a candidate wait for a person, in the transaction that ends its training."""
    make_candidate: Callable[..., Candidate] = make_candidate

    @long_statements()
    def train(
        self,
        pipeline: Pipeline,
        reason: str,
        actor: str,
        *,
        recipe: Recipe | str | None = None,
        on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
        tags: Mapping[str, str] | None = None,
        use_labels: bool = True,
    ) -> TrainingOutcome:
        """Train by hand from base data and, with `use_labels`, feedback; the winner of the gate becomes champion."""
        tags = training_tags(MANUAL_TRIGGER) | dict(tags or {})
        inputs = self.inputs.read(pipeline, reason, recipe, tags, use_labels=use_labels)
        usage: dict[str, Any] = {}

        def on_rows(rows: Rows) -> None:
            usage["labels"] = label_usage(len(inputs.labels.records_by_id), *rows.label_counts, rows.excluded)
            with self.database.write() as connection:
                key = f"label-review/{uuid7()}"
                open_label_review(connection, pipeline.name, key, inputs.labels, rows.excluded, self.clock())

        with retry_for(self.settings.mlflow_patience_seconds):
            places = (inputs.spec, self.tracking, self.catalog)
            candidate = self.make_candidate(*places, on_rows=on_rows, on_epoch=on_epoch)
            verdict = to_jsonable(candidate.verdict) | usage
            approval = self._needed_approval(pipeline, candidate, verdict, inputs.champion_version, actor, reason)
            if approval is not None:
                with self.database.write() as connection:
                    self.request_approval(connection, approval)
                return TrainingOutcome(candidate, None, usage_sentence(verdict), approval)
            promotion = self._promote_winner(pipeline, candidate, verdict, inputs.champion_version, actor, reason)
        return TrainingOutcome(candidate, promotion, usage_sentence(verdict))

    @long_statements()
    def run_retraining(
        self, retraining_id: str, owner: str, find_pipeline: Callable[[Settings], Pipeline] = training_pipeline
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

    def _run_retraining(
        self,
        retraining_id: str,
        owner: str,
        heartbeat: RetrainingHeartbeat,
        find_pipeline: Callable[[Settings], Pipeline],
    ) -> retraining_queue.RetrainingState:
        # 1. What was asked for, and since when predictions have been bad.
        with self.database.read() as connection:
            row = retraining_queue.find(connection, retraining_id)
            errors_since = alert_records.earliest_change_point(connection, retraining_queue.alerts_of(row))
        tags = {**training_tags(row.alert_id or row.trigger), RETRAINING_TAG: row.id}
        pipeline = find_pipeline(self.settings)
        require_model(pipeline, row.pipeline)
        # 2. The labels there are, and the champion to compare with.
        heartbeat.set_step("gathering labels")
        inputs = self.inputs.read(pipeline, row.reason, None, tags, errors_since)
        heartbeat.set_step("choosing rows")
        usage: dict[str, Any] = {}

        def on_rows(rows: Rows) -> None:
            usage["labels"] = label_usage(len(inputs.labels.records_by_id), *rows.label_counts, rows.excluded)
            with self.database.write() as connection:
                retraining_queue.require_running(connection, retraining_id, owner)
                key = f"label-review/{row.id}"
                open_label_review(connection, pipeline.name, key, inputs.labels, rows.excluded, self.clock())
            heartbeat.set_label_use(usage["labels"])
            heartbeat.set_step("training")

        def on_start(run_id: str) -> None:
            with self.database.write() as connection:
                retraining_queue.record_run(connection, retraining_id, owner, run_id)

        # 3. The candidate, its verdict, and its promotion where the gate lets it pass.
        with retry_for(self.settings.mlflow_patience_seconds):
            candidate = self.make_candidate(
                inputs.spec,
                self.tracking,
                self.catalog,
                on_rows=on_rows,
                on_start=on_start,
                on_epoch=heartbeat.report_epoch,
                should_stop=heartbeat.ownership_lost.is_set,
                is_wanted=heartbeat.owns_retraining,
            )
            promotion, approval, verdict = None, None, to_jsonable(candidate.verdict) | usage
            if not (row.dry_run or (row.trigger == "alert" and self.load_rules().retraining.dry_run)):
                asked = (pipeline, candidate, verdict, inputs.champion_version, f"retraining/{row.id}", row.reason)
                approval = self._needed_approval(*asked, retraining_id=row.id)
                if approval is None:
                    check = retraining_queue.ownership_check(row.id, owner)
                    promotion = self._promote_winner(*asked, retraining_id=row.id, precondition=check)
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
                if approval is not None:
                    self.request_approval(connection, approval)
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

    def _needed_approval(
        self,
        pipeline: Pipeline,
        candidate: Candidate,
        verdict: Mapping[str, Any],
        champion_version: int | None,
        actor: str,
        reason: str,
        *,
        retraining_id: str | None = None,
    ) -> Approval | None:
        """The approval that the winner of the gate has to wait for; None where alerts.yaml asks for none."""
        policy = retraining_policy(self.settings.alerts_file, self.load_rules, pipeline.name)
        if candidate.verdict.outcome != "promote" or policy.promote != "approval":
            return None
        versions = (candidate.version, champion_version)
        now, timeout = self.clock(), policy.approval_timeout
        return new_approval(pipeline.name, *versions, verdict, actor, reason, retraining_id, now, timeout)

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


def training_worker(context: AppContext, make_candidate: Callable[..., Candidate] = make_candidate) -> TrainingWorker:
    """The training worker of this process."""
    promotions = promotion_service(context)
    return TrainingWorker(
        settings=context.settings,
        clock=context.clock,
        database=context.database,
        tracking=context.tracking,
        catalog=context.catalog,
        promotions=promotions,
        load_rules=lambda: context.rules,
        inputs=training_inputs_reader(context, promotions),
        try_in_shadow=partial(replace_shadow, context),
        request_approval=lambda connection, approval: request_approval(connection, context, approval),
        make_candidate=make_candidate,
    )
