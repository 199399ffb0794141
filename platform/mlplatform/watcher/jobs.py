"""What the leading watcher does, wired from the context of its process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from mlplatform.alerting.audit_contradiction import write_checkpoint_or_notify
from mlplatform.alerting.dispatcher import OutboxDispatcher, create_dispatcher
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.recording_loss import notify_recording_loss
from mlplatform.audit.checkpoints import checkpoint_writer
from mlplatform.context import AppContext
from mlplatform.feedback.absent_labels import write_absent_labels
from mlplatform.feedback.label_ingestion import match_pending_labels
from mlplatform.monitoring.config_changes import audit_rule_changes
from mlplatform.monitoring.drift_report import write_drift_report
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.evaluation_report import (
    MeasureWindow,
    measure_with_evidently,
    write_missing_reports,
    write_report,
)
from mlplatform.monitoring.input_drift import InputDriftMonitor
from mlplatform.monitoring.sampling_plan import update_sampling_plan
from mlplatform.promotion.probation_monitor import ProbationMonitor, probation_monitor
from mlplatform.promotion.promotion_service import PromotionService, promotion_service
from mlplatform.promotion.rollout_analysis import RolloutAnalysis, rollout_analysis
from mlplatform.retention.apply_retention import ErasureThrottle, RetentionResult, apply_retention
from mlplatform.retraining.supervisor import RetrainingSupervisor, retraining_supervisor, worker_command
from mlplatform.store.leases import Lease
from mlplatform.watcher.report_queue import ReportQueue
from monitors.rules.alerts_config import Rule
from monitors.statistics.review_sampling import SamplingPlan


@dataclass(frozen=True)
class WatcherJobs:
    """The services that a watcher calls while it leads, and what other packages do when they are given its lease."""

    dispatcher: OutboxDispatcher
    supervisor: RetrainingSupervisor
    probation_monitor: ProbationMonitor
    rollout_analysis: RolloutAnalysis
    promotions: PromotionService
    reports: ReportQueue
    evaluate: Callable[[Rule, datetime, Lease], Evaluation | None]
    audit_rule_changes: Callable[[Lease], list[str]]
    update_sampling_plan: Callable[[Lease], SamplingPlan | None]
    write_checkpoint: Callable[[Lease], None]
    notify_recording_loss: Callable[[Connection], int]
    match_pending_labels: Callable[[], int]
    write_absent_labels: Callable[[Callable[[Connection], object], Callable[[], bool]], int]
    apply_retention: Callable[[Callable[[Connection], object], ErasureThrottle], RetentionResult]

    def close(self) -> None:
        """End what runs beside the watcher: deliveries, training processes, reports."""
        try:
            self.dispatcher.close()
            self.supervisor.close()
        finally:
            self.reports.close()


def create_jobs(
    context: AppContext,
    measure: MeasureWindow = measure_with_evidently,
    command: Callable[[str, str], list[str]] = worker_command,
) -> WatcherJobs:
    """The jobs of this process; raises StoreUnavailableError while the database is away.

    `command` starts the process that carries out a retraining, by the retraining's id and its owner's token.
    """
    drift, checkpoints = InputDriftMonitor(context), checkpoint_writer(context)
    write_comparison = partial(write_drift_report, drift=drift)

    def evaluate_rule(rule: Rule, slot: datetime, lease: Lease) -> Evaluation | None:
        return evaluate(context, rule, slot, lease, drift)

    def write_reports(rule: Rule, evaluation: Evaluation) -> None:
        write_report(context, rule, evaluation, measure, write_comparison)
        write_missing_reports(context, rule, measure)

    def write_checkpoint(lease: Lease) -> None:
        write_checkpoint_or_notify(context, checkpoints, lease)

    def notify_loss(connection: Connection) -> int:
        return notify_recording_loss(connection, context)

    return WatcherJobs(
        dispatcher=create_dispatcher(context),
        supervisor=retraining_supervisor(context, command),
        probation_monitor=probation_monitor(context),
        rollout_analysis=rollout_analysis(context),
        promotions=promotion_service(context),
        reports=ReportQueue(write_reports),
        evaluate=evaluate_rule,
        audit_rule_changes=partial(audit_rule_changes, context),
        update_sampling_plan=partial(update_sampling_plan, context),
        write_checkpoint=write_checkpoint,
        notify_recording_loss=notify_loss,
        match_pending_labels=partial(match_pending_labels, context),
        write_absent_labels=partial(write_absent_labels, context, context.rules.absent),
        apply_retention=partial(apply_retention, context, context.instance),
    )
