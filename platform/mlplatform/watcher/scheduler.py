"""The watcher: one leader among many, its jobs on APScheduler; it decides nothing, it only keeps time.

Every watcher runs the same jobs; only the holder of the lease does anything in them. A job's transaction proves
the lease, so a watcher that was paused past its lease writes nothing. Evaluations are keyed by schedule slot:
whichever watcher leads, each slot is evaluated once.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor as ThreadPool
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from mlplatform.alerting import evaluations
from mlplatform.alerting.audit_contradiction import write_checkpoint_or_notify
from mlplatform.alerting.dispatcher import create_dispatcher
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.recording_loss import notify_recording_loss
from mlplatform.audit.checkpoints import checkpoint_writer
from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.errors import FencedError, PlatformError, SettingsError, StoreUnavailableError
from mlplatform.feedback.label_ingestion import match_pending_labels
from mlplatform.host.clock_steps import ClockStepDetector, due_slot, slot_at
from mlplatform.monitoring.config_changes import audit_rule_changes
from mlplatform.monitoring.drift_report import write_drift_report
from mlplatform.monitoring.evaluate import evaluate, is_worse
from mlplatform.monitoring.evaluation_report import (
    MeasureWindow,
    measure_with_evidently,
    write_missing_reports,
    write_report,
)
from mlplatform.monitoring.input_drift import InputDriftMonitor
from mlplatform.monitoring.sampling_plan import update_sampling_plan
from mlplatform.promotion.probation_monitor import ProbationMonitor, probation_monitor
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.promotion.rollout_analysis import rollout_analysis
from mlplatform.retention.apply_retention import ErasureThrottle, apply_retention
from mlplatform.retraining.supervisor import RetrainingSupervisor, retraining_supervisor
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import WATCHER, leader_lease_name
from mlplatform.watcher.isolated_executor import IsolatedExecutor
from monitors.errors import MonitorError
from monitors.rules.alerts_config import Rule
from registry.errors import RegistryError

log = logging.getLogger(__name__)
DISPATCH_SECONDS = 1.0
SUPERVISE_SECONDS = 1.0
RECONCILE_SECONDS = 10.0
SAMPLING_PLAN_SECONDS = 60.0
ROLLOUT_SECONDS = 5.0
PROBATION_SECONDS = 10.0
CHECKPOINT_SECONDS = 60.0
RETENTION_SECONDS = 3600.0
STOP_SECONDS = 30.0
"""Within this time a watcher that was asked to end has ended, whatever hangs."""
CLOCK_CHECK_SECONDS = 1.0


@dataclass
class Watcher:
    """One watching process. `run` blocks until `stop` is called."""

    context: AppContext
    measure: MeasureWindow = measure_with_evidently
    clock_steps: ClockStepDetector = field(default_factory=ClockStepDetector)
    _lease: leases.Lease | None = None
    _rules_audited: bool = False
    _stopping: threading.Event = field(default_factory=threading.Event)
    _pending_reports: dict[str, tuple[Rule, Evaluation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.context.rules.model != self.context.pipeline.name:
            raise SettingsError(
                f"alerts.yaml watches model {self.context.rules.model!r} but PLATFORM_PIPELINE is "
                f"{self.context.pipeline.name!r}; make them the same"
            )
        self._drift = InputDriftMonitor(self.context)
        self._compare = partial(write_drift_report, drift=self._drift)
        self._dispatcher = create_dispatcher(self.context)
        self._checkpoint_writer = checkpoint_writer(self.context)
        self._report_pool = ThreadPool(1, thread_name_prefix="measure")

    @cached_property
    def _supervisor(self) -> RetrainingSupervisor:
        return retraining_supervisor(self.context)

    @cached_property
    def _probation_monitor(self) -> ProbationMonitor:
        return probation_monitor(self.context)

    @property
    def lease(self) -> leases.Lease | None:
        """The lease while this watcher leads."""
        return self._lease

    def run(self) -> None:
        """Keep time until stopped; on the way out the lease is given back."""
        with suppress(StoreUnavailableError):  # which the jobs wait out; whatever else is wrong with it ends this
            self.context.database.revision()
        scheduler = self._scheduler()
        _log_failures(self.renew_leadership)()
        scheduler.start()
        try:
            while not self._stopping.wait(CLOCK_CHECK_SECONDS):
                self.handle_clock_step(scheduler)
        finally:
            try:
                self._dispatcher.close()
                if "_supervisor" in vars(self):  # else the database was away all the time
                    self._supervisor.close()
            finally:
                self._report_pool.shutdown(wait=False, cancel_futures=True)
                scheduler.shutdown(wait=True)
            self._release_lease()

    def handle_clock_step(self, scheduler: BackgroundScheduler) -> None:
        """After the clock was set back, let every job run now: APScheduler would wait until it is as late as before."""
        step = self.clock_steps.poll()
        if step is None:
            return
        log.warning("%s: all jobs go on from now", step.text)
        if step.offset < timedelta(0):
            for job in scheduler.get_jobs():
                job.modify(next_run_time=datetime.now(UTC))

    def stop(self) -> None:
        """Let `run` return; safe in a signal handler."""
        self._stopping.set()

    def renew_leadership(self) -> None:
        """Take or renew the lease, and give a sign of life.

        The clock is read when nothing is left to wait for: a renewal that waited behind a long transaction of this very
        watcher still lasts a whole life.
        """
        life, led = timedelta(seconds=self.context.settings.lease_seconds), self._lease is not None
        with self.context.database.write() as connection:
            if self._lease is not None:
                leases.lock_lease(connection, self._lease.name)
            now = self.context.clock()
            if self._lease is None or not leases.renew(connection, self._lease, life, now):
                self._lease = leases.acquire(
                    connection, leader_lease_name(self.context.rules.model), self.context.instance, life, now
                )
            details = {
                "model": self.context.rules.model,
                "leader": self._lease is not None,
                "clock": self.clock_steps.last_step_text,
            }
            leases.record_heartbeat(connection, WATCHER, self.context.instance, now, details)
        if self._lease is not None and not led:
            log.info("this watcher leads now (fence %d)", self._lease.fence)
            self._rules_audited = False
        if self._lease is not None and not self._rules_audited:
            changes = audit_rule_changes(self.context, self._lease)
            log.info("rules: %s", "; ".join(changes[:5]) or "as before")
            self._rules_audited = True

    def evaluate(self, rule: Rule) -> None:
        """Evaluate a rule for the current slot, once among all watchers."""
        if (lease := self._lease) is not None:  # read once: another thread renews and loses it
            slot = self._slot(rule)
            evaluation = evaluate(self.context, rule, slot, lease, self._drift)
            if evaluation is not None:
                log.info("%s: %s", rule.name, evaluation.state)
                self._schedule_report(rule, evaluation)

    def _slot(self, rule: Rule) -> datetime:
        now, every = self.context.clock(), self.context.rules.interval(rule)
        with self.context.database.read() as connection:
            newest = evaluations.latest_slot(connection, self.context.rules.model, rule.name)
        return due_slot(slot_at(now, every), now, every, newest)

    def _schedule_report(self, rule: Rule, evaluation: Evaluation) -> None:
        """Let Evidently measure off the alarm's path: of evaluations that pile up, a rule's newest or gravest."""
        waiting = self._pending_reports.get(rule.name)
        if waiting is None or not is_worse(waiting[1].state, evaluation.state):
            self._pending_reports[rule.name] = (rule, evaluation)
        if waiting is None:
            self._report_pool.submit(_log_failures(self._write_reports), rule)

    def _write_reports(self, rule: Rule) -> None:
        write_report(self.context, *self._pending_reports.pop(rule.name), self.measure, self._compare)
        write_missing_reports(self.context, rule, self.measure)

    def dispatch_notices(self) -> None:
        """Have sent what the outbox holds; no channel is waited for."""
        if (lease := self._lease) is not None:
            self._dispatcher.start_workers(lease)

    def supervise_retrainings(self) -> None:
        """Start, watch and close retrainings; heartbeats say nothing of who lives just after the clock was set."""
        if (lease := self._lease) is not None and not self.clock_steps.stepped_within(
            self.context.settings.abandoned_seconds
        ):
            self._supervisor.tick(lease)
        else:
            self._supervisor.reap()

    def update_sampling_plan(self) -> None:
        """Keep the sampling plan in step with the traffic."""
        if (lease := self._lease) is not None and (made := update_sampling_plan(self.context, lease)) is not None:
            log.info("sampling plan: %.2g of all answers, up to %.2g", made.uniform, max([*made.strata.values(), 0]))

    def check_probation(self) -> None:
        """Hold a new champion against the one before, and send it back when it is worse."""
        if (lease := self._lease) is not None:
            self._probation_monitor.tick(lease)

    def check_rollout(self) -> None:
        """End the trial of a challenger that is found worse than the champion."""
        if (lease := self._lease) is not None:
            rollout_analysis(self.context).tick(lease)

    def write_checkpoint(self) -> None:
        """Write down the heads of the audit log's chains, outside the database; alarm where they contradict."""
        if (lease := self._lease) is not None:
            write_checkpoint_or_notify(self.context, self._checkpoint_writer, lease)

    def reconcile(self) -> None:
        """Close label audits that are done, tell of lost predictions, and make MLflow agree with the history."""
        if (lease := self._lease) is None:
            return
        with self.context.database.write() as connection:
            leases.require_lease(connection, lease)
            tasks.close_finished_labelling(connection, self.context.rules.model, self.context.clock())
            notify_recording_loss(connection, self.context)
        if promotion_service(self.context).reconcile(self.context.pipeline.name):
            log.warning("the champion alias did not agree with the history and was set right")

    def match_pending_labels(self) -> None:
        """Take labels whose prediction has arrived since."""
        if self._lease is not None and (taken := match_pending_labels(self.context)):
            log.info("%d label(s) found their prediction", taken)

    def apply_retention(self) -> None:
        """Remove what is older than the settings keep, all of it, while this watcher leads."""
        if (lease := self._lease) is not None:
            pace = ErasureThrottle(lambda: self._lease is not None and not self._stopping.is_set(), self._stopping.wait)
            apply_retention(
                self.context, self.context.instance, lambda connection: leases.require_lease(connection, lease), pace
            )

    def _scheduler(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                "default": ThreadPoolExecutor(8),
                "evaluate": ThreadPoolExecutor(1),
                "aside": IsolatedExecutor(),
                "looking": IsolatedExecutor(),
            },
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        renewal = self.context.settings.lease_seconds / 3
        for job, seconds in (
            (self.renew_leadership, renewal),
            (self.dispatch_notices, DISPATCH_SECONDS),
            (self.supervise_retrainings, SUPERVISE_SECONDS),
            (self.reconcile, RECONCILE_SECONDS),
            (self.match_pending_labels, RECONCILE_SECONDS),
            (self.apply_retention, RETENTION_SECONDS),
            (self.update_sampling_plan, SAMPLING_PLAN_SECONDS),
            (self.check_probation, PROBATION_SECONDS),
            (self.check_rollout, ROLLOUT_SECONDS),
            (self.write_checkpoint, CHECKPOINT_SECONDS),
        ):
            scheduler.add_job(_log_failures(job), IntervalTrigger(seconds=seconds, timezone=UTC), name=job.__name__)
        for rule in self.context.rules.rules:
            seconds = self.context.rules.interval(rule).total_seconds()
            scheduler.add_job(
                _log_failures(self.evaluate),
                IntervalTrigger(seconds=seconds, start_date=EPOCH, timezone=UTC),
                args=(rule,),
                name=f"evaluate {rule.name}",
                executor=_executor_name(rule),
                next_run_time=datetime.now(UTC),
            )
        return scheduler

    def _release_lease(self) -> None:
        if self._lease is not None:
            with self.context.database.write() as connection:
                leases.release(connection, self._lease)


def _executor_name(rule: Rule) -> str:
    """Where the rule is evaluated: what takes long, and code of somebody's own, holds up nothing but its like."""
    if rule.metric_spec.is_user_code:
        return "aside"
    return "looking" if "pictures" in rule.metric_spec.data_needs else "evaluate"


def _log_failures(job: Callable[..., None]) -> Callable[..., None]:
    """The job with the world's failures logged: a database or registry that is away ends no watcher."""

    def steady(*args: Rule) -> None:
        try:
            job(*args)
        except FencedError as error:
            log.warning("%s", error)
        except (PlatformError, RegistryError, MonitorError) as error:
            log.error("%s: %s", job.__name__, error)

    return steady
