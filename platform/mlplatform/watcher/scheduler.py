"""The watcher: leads or stands by, and runs the jobs of the leader on a schedule.

Every watcher runs the same jobs; only the holder of the lease does anything in them. A job's transaction proves
the lease, so a watcher that was paused past its lease writes nothing. Evaluations are keyed by schedule slot:
whichever watcher leads, each slot is evaluated once.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from mlplatform.alerting import evaluations
from mlplatform.clock import EPOCH, Clock
from mlplatform.context import AppContext
from mlplatform.errors import SettingsError, StoreUnavailableError
from mlplatform.host.clock_steps import MIN_STEP, ClockStepDetector, due_slot, slot_at
from mlplatform.monitoring.evaluation_report import MeasureWindow, measure_with_evidently
from mlplatform.retention.apply_retention import ErasureThrottle
from mlplatform.retraining.supervisor import worker_command
from mlplatform.settings import Settings
from mlplatform.store import leases, tasks
from mlplatform.store.database import Database
from mlplatform.store.leadership import WATCHER, leader_lease_name
from mlplatform.watcher.failure_log import log_failures
from mlplatform.watcher.isolated_executor import IsolatedExecutor
from mlplatform.watcher.jobs import WatcherJobs, create_jobs
from monitors.rules.alerts_config import AlertsConfig, Rule

log = logging.getLogger(__name__)
DISPATCH_SECONDS = 1.0
SUPERVISE_SECONDS = 1.0
RECONCILE_SECONDS = 10.0
SAMPLING_PLAN_SECONDS = 60.0
ROLLOUT_SECONDS = 5.0
PROBATION_SECONDS = 10.0
CHECKPOINT_SECONDS = 60.0
ABSENT_SECONDS = 600.0
RETENTION_SECONDS = 3600.0
STOP_SECONDS = 30.0
"""Within this time a watcher that was asked to stop has stopped, whatever hangs."""
CLOCK_CHECK_SECONDS = 1.0


@dataclass
class Watcher:
    """One watching process; `run` blocks until `stop` is called.

    `open_database` and `create_jobs` raise StoreUnavailableError while the database is away; they are tried again
    with each job until it is there.
    """

    settings: Settings
    rules: AlertsConfig
    instance: str
    clock: Clock
    open_database: Callable[[], Database]
    create_jobs: Callable[[], WatcherJobs]
    clock_steps: ClockStepDetector = field(default_factory=ClockStepDetector)
    _lease: leases.Lease | None = None
    _rules_audited: bool = False
    _stopping: threading.Event = field(default_factory=threading.Event)
    _jobs: WatcherJobs | None = None
    _jobs_lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def database(self) -> Database:
        """The store; raises StoreUnavailableError while it is away."""
        return self.open_database()

    @property
    def jobs(self) -> WatcherJobs:
        """What this watcher does while it leads, made once; raises StoreUnavailableError while the database is away."""
        with self._jobs_lock:
            if self._jobs is None:
                self._jobs = self.create_jobs()
            return self._jobs

    @property
    def lease(self) -> leases.Lease | None:
        """The lease while this watcher leads."""
        return self._lease

    def run(self) -> None:
        """Run the jobs until stopped; on the way out the lease is given back."""
        with suppress(StoreUnavailableError):  # which the jobs wait out; whatever else is wrong with it ends this
            self.database.revision()
        scheduler = self._scheduler()
        log_failures(self.renew_leadership, "renew_leadership")()
        scheduler.start()
        try:
            while not self._stopping.wait(CLOCK_CHECK_SECONDS):
                self.handle_clock_step(scheduler)
        finally:
            closed = self._jobs
            try:
                if closed is not None:
                    closed.close()
            finally:
                scheduler.shutdown(wait=True)
            if self._jobs is not None and self._jobs is not closed:  # made by a job while the others were closed
                self._jobs.close()
            self._release_lease()

    def handle_clock_step(self, scheduler: BackgroundScheduler) -> None:
        """After the clock was set back, let every job run now: APScheduler would wait until it is as late as before.

        A job is also run now where its plan alone tells of a step: a clock that was set ahead and right again between
        two checks shows no step, but whatever ran meanwhile is planned for the time that it showed.
        """
        step = self.clock_steps.poll()
        if step is not None:
            log.warning("%s: all jobs go on from now", step.text)
        was_set_back = step is not None and step.offset < timedelta(0)
        now = datetime.now(UTC)
        for job in scheduler.get_jobs():
            if was_set_back or job.next_run_time > now + job.trigger.interval + MIN_STEP:
                if not was_set_back:
                    log.warning("%s was planned by a clock that was ahead: it goes on from now", job.name)
                job.modify(next_run_time=now)

    def stop(self) -> None:
        """Let `run` return; safe in a signal handler."""
        self._stopping.set()

    def renew_leadership(self) -> None:
        """Acquire or renew the lease, and record a heartbeat.

        The clock is read when nothing is left to wait for: a renewal that waited behind a long transaction of this very
        watcher still lasts a whole life.
        """
        lease_duration, was_leading = timedelta(seconds=self.settings.lease_seconds), self._lease is not None
        with self.database.write() as connection:
            if self._lease is not None:
                leases.lock_lease(connection, self._lease.name)
            now = self.clock()
            if self._lease is None or not leases.renew(connection, self._lease, lease_duration, now):
                name = leader_lease_name(self.rules.model)
                self._lease = leases.acquire(connection, name, self.instance, lease_duration, now)
            details = {
                "model": self.rules.model,
                "leader": self._lease is not None,
                "clock": self.clock_steps.last_step_text,
            }
            leases.record_heartbeat(connection, WATCHER, self.instance, now, details)
        if self._lease is not None and not was_leading:
            log.info("this watcher leads now (fence %d)", self._lease.fence)
            self._rules_audited = False
        if self._lease is not None and not self._rules_audited:
            changes = self.jobs.audit_rule_changes(self._lease)
            log.info("rules: %s", "; ".join(changes[:5]) or "as before")
            self._rules_audited = True

    def evaluate(self, rule: Rule) -> None:
        """Evaluate a rule for the current slot, once among all watchers."""
        if (lease := self._lease) is not None:  # read once: another thread renews and loses it
            evaluation = self.jobs.evaluate(rule, self._slot(rule), lease)
            if evaluation is not None:
                log.info("%s: %s", rule.name, evaluation.state)
                self.jobs.reports.put(rule, evaluation)

    def _slot(self, rule: Rule) -> datetime:
        now, interval = self.clock(), self.rules.interval(rule)
        with self.database.read() as connection:
            newest = evaluations.latest_slot(connection, self.rules.model, rule.name)
        return due_slot(slot_at(now, interval), now, interval, newest)

    def dispatch_notices(self) -> None:
        """Have the messages of the outbox sent; no channel is waited for."""
        if (lease := self._lease) is not None:
            self.jobs.dispatcher.start_workers(lease)

    def supervise_retrainings(self) -> None:
        """Start, watch and close retrainings; heartbeats say nothing of who lives just after the clock was set."""
        just_stepped = self.clock_steps.stepped_within(self.settings.abandoned_seconds)
        if (lease := self._lease) is not None and not just_stepped:
            self.jobs.supervisor.tick(lease)
        else:
            self.jobs.supervisor.reap()

    def update_sampling_plan(self) -> None:
        """Keep the sampling plan in step with the traffic."""
        if (lease := self._lease) is not None and (plan := self.jobs.update_sampling_plan(lease)) is not None:
            log.info("sampling plan: %.2g of all answers, up to %.2g", plan.uniform, max([*plan.strata.values(), 0]))

    def check_probation(self) -> None:
        """Compare a new champion with the one before, and roll it back when it is worse."""
        if (lease := self._lease) is not None:
            self.jobs.probation_monitor.tick(lease)

    def check_rollout(self) -> None:
        """End the rollout of a challenger that is worse than the champion."""
        if (lease := self._lease) is not None:
            self.jobs.rollout_analysis.tick(lease)

    def write_checkpoint(self) -> None:
        """Write the heads of the audit log's chains outside the database; notify where they contradict."""
        if (lease := self._lease) is not None:
            self.jobs.write_checkpoint(lease)

    def reconcile(self) -> None:
        """Close label audits that are done, tell of lost predictions, and make MLflow agree with the history."""
        if (lease := self._lease) is None:
            return
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            tasks.close_finished_labelling(connection, self.rules.model, self.clock())
            self.jobs.notify_recording_loss(connection)
        if self.jobs.promotions.reconcile(self.rules.model):
            log.warning("the champion alias did not agree with the history and was set right")

    def match_pending_labels(self) -> None:
        """Record labels whose prediction has arrived since."""
        if self._lease is not None and (matched := self.jobs.match_pending_labels()):
            log.info("%d label(s) found their prediction", matched)

    def write_absent_labels(self) -> None:
        """Write the labels of answers that got none in time, while this watcher leads."""
        if (lease := self._lease) is not None:
            written = self.jobs.write_absent_labels(
                lambda connection: leases.require_lease(connection, lease),
                lambda: self._lease is not None and not self._stopping.is_set(),
            )
            if written:
                log.info("%d answer(s) got no label in time and have the one of their silence now", written)

    def apply_retention(self) -> None:
        """Remove what is older than the settings keep, all of it, while this watcher leads."""
        if (lease := self._lease) is not None:
            throttle = ErasureThrottle(
                lambda: self._lease is not None and not self._stopping.is_set(), self._stopping.wait
            )
            self.jobs.apply_retention(lambda connection: leases.require_lease(connection, lease), throttle)

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
        renewal = self.settings.lease_seconds / 3
        for job, seconds in (
            (self.renew_leadership, renewal),
            (self.dispatch_notices, DISPATCH_SECONDS),
            (self.supervise_retrainings, SUPERVISE_SECONDS),
            (self.reconcile, RECONCILE_SECONDS),
            (self.match_pending_labels, RECONCILE_SECONDS),
            (self.write_absent_labels, ABSENT_SECONDS),
            (self.apply_retention, RETENTION_SECONDS),
            (self.update_sampling_plan, SAMPLING_PLAN_SECONDS),
            (self.check_probation, PROBATION_SECONDS),
            (self.check_rollout, ROLLOUT_SECONDS),
            (self.write_checkpoint, CHECKPOINT_SECONDS),
        ):
            name = job.__name__
            trigger = IntervalTrigger(seconds=seconds, timezone=UTC)
            begins = {"next_run_time": datetime.now(UTC)} if name == self.write_absent_labels.__name__ else {}
            scheduler.add_job(log_failures(job, name), trigger, name=name, **begins)  # rules wait for absent labels
        for rule in self.rules.rules:
            seconds = self.rules.interval(rule).total_seconds()
            scheduler.add_job(
                log_failures(self.evaluate, "evaluate"),
                IntervalTrigger(seconds=seconds, start_date=EPOCH, timezone=UTC),
                args=(rule,),
                name=f"evaluate {rule.name}",
                executor=_executor_name(rule),
                next_run_time=datetime.now(UTC),
            )
        return scheduler

    def _release_lease(self) -> None:
        if self._lease is not None:
            with self.database.write() as connection:
                leases.release(connection, self._lease)


def _executor_name(rule: Rule) -> str:
    """Where the rule is evaluated: what takes long, and code of somebody's own, holds up nothing but its like."""
    if rule.metric_spec.is_user_code:
        return "aside"
    return "looking" if "pictures" in rule.metric_spec.data_needs else "evaluate"


def create_watcher(
    context: AppContext,
    measure: MeasureWindow = measure_with_evidently,
    command: Callable[[str, str], list[str]] = worker_command,
) -> Watcher:
    """The watcher of this process; raises SettingsError where alerts.yaml watches another model than is served."""
    if context.rules.model != context.model_name:
        raise SettingsError(
            f"alerts.yaml watches model {context.rules.model!r} but PLATFORM_PIPELINE is "
            f"{context.model_name!r}; make them the same"
        )
    return Watcher(
        settings=context.settings,
        rules=context.rules,
        instance=context.instance,
        clock=context.clock,
        open_database=lambda: context.database,
        create_jobs=partial(create_jobs, context, measure, command),
    )
