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
from functools import partial

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from mlplatform.alerting import evaluations
from mlplatform.alerting.audit_contradiction import anchor_or_alarm
from mlplatform.alerting.dispatcher import courier
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.recording_loss import post_losses
from mlplatform.audit.checkpoints import Anchoring
from mlplatform.clock import EPOCH
from mlplatform.context import Parts
from mlplatform.errors import FencedError, PlatformError, SettingsError, StoreUnavailableError
from mlplatform.feedback.label_ingestion import match_waiting
from mlplatform.host.clock_steps import ClockSteps, due_slot, slot_of
from mlplatform.monitoring.config_changes import note_rules
from mlplatform.monitoring.drift_report import draw
from mlplatform.monitoring.evaluate import graver, turn
from mlplatform.monitoring.input_drift import Looker
from mlplatform.monitoring.rule_inputs import Measure, examine, examine_missed, measured
from mlplatform.monitoring.sampling_plan import replan
from mlplatform.promotion.probation_monitor import Warden
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.promotion.rollout_analysis import Referee
from mlplatform.retention.apply_retention import Pace, retain
from mlplatform.retraining.supervisor import Governor
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import WATCHER, leader_lease
from mlplatform.watcher.isolated_executor import Aside
from monitors.errors import MonitorError
from monitors.rules.alerts_config import Rule
from registry.errors import RegistryError

log = logging.getLogger(__name__)
DELIVER_SECONDS = 1.0
GOVERN_SECONDS = 1.0
RECONCILE_SECONDS = 10.0
PLAN_SECONDS = 60.0
TRIAL_SECONDS = 5.0
PROBATION_SECONDS = 10.0
ANCHOR_SECONDS = 60.0
RETAIN_SECONDS = 3600.0
STOP_SECONDS = 30.0
"""Within this time a watcher that was asked to end has ended, whatever hangs."""
STEP_SECONDS = 1.0


@dataclass
class Watcher:
    """One watching process. `run` blocks until `stop` is called."""

    parts: Parts
    measure: Measure = measured
    steps: ClockSteps = field(default_factory=ClockSteps)
    _lease: leases.Lease | None = None
    _noted: bool = False
    _stopping: threading.Event = field(default_factory=threading.Event)
    _unmeasured: dict[str, tuple[Rule, Evaluation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parts.rules.model != self.parts.family.name:
            raise SettingsError(
                f"alerts.yaml watches model {self.parts.rules.model!r} but PLATFORM_PIPELINE is "
                f"{self.parts.family.name!r}; make them the same"
            )
        self._governor = Governor(self.parts)
        self._drift = Looker(self.parts)
        self._compare = partial(draw, drift=self._drift)
        self._courier = courier(self.parts)
        self._warden = Warden(self.parts)
        self._anchoring = Anchoring(self.parts)
        self._measuring = ThreadPool(1, thread_name_prefix="measure")

    @property
    def lease(self) -> leases.Lease | None:
        """The lease while this watcher leads."""
        return self._lease

    def run(self) -> None:
        """Keep time until stopped; on the way out the lease is given back."""
        with suppress(StoreUnavailableError):  # which the jobs wait out; whatever else is wrong with it ends this
            self.parts.database.revision()
        scheduler = self._scheduler()
        _steady(self.lead)()
        scheduler.start()
        try:
            while not self._stopping.wait(STEP_SECONDS):
                self.follow_clock(scheduler)
        finally:
            try:
                self._courier.close()
                self._governor.close()
            finally:
                self._measuring.shutdown(wait=False, cancel_futures=True)
                scheduler.shutdown(wait=True)
            self._give_back()

    def follow_clock(self, scheduler: BackgroundScheduler) -> None:
        """After the clock was set back, let every job run now: APScheduler would wait until it is as late as before."""
        step = self.steps.look()
        if step is None:
            return
        log.warning("%s: all jobs go on from now", step.words)
        if step.by < timedelta(0):
            for job in scheduler.get_jobs():
                job.modify(next_run_time=datetime.now(UTC))

    def stop(self) -> None:
        """Let `run` return; safe in a signal handler."""
        self._stopping.set()

    def lead(self) -> None:
        """Take or renew the lease, and give a sign of life.

        The clock is read when nothing is left to wait for: a renewal that waited behind a long transaction of this very
        watcher still lasts a whole life.
        """
        life, led = timedelta(seconds=self.parts.settings.lease_seconds), self._lease is not None
        with self.parts.database.write() as connection:
            if self._lease is not None:
                leases.lock(connection, self._lease.name)
            now = self.parts.clock()
            if self._lease is None or not leases.renew(connection, self._lease, life, now):
                self._lease = leases.acquire(
                    connection, leader_lease(self.parts.rules.model), self.parts.instance, life, now
                )
            details = {"model": self.parts.rules.model, "leader": self._lease is not None, "clock": self.steps.told}
            leases.beat(connection, WATCHER, self.parts.instance, now, details)
        if self._lease is not None and not led:
            log.info("this watcher leads now (fence %d)", self._lease.fence)
            self._noted = False
        if self._lease is not None and not self._noted:
            changes = note_rules(self.parts, self._lease)
            log.info("rules: %s", "; ".join(changes[:5]) or "as before")
            self._noted = True

    def evaluate(self, rule: Rule) -> None:
        """Evaluate a rule for the current slot, once among all watchers."""
        if (lease := self._lease) is not None:  # read once: another thread renews and loses it
            slot = self._slot(rule)
            evaluation = turn(self.parts, rule, slot, lease, self._drift)
            if evaluation is not None:
                log.info("%s: %s", rule.name, evaluation.state)
                self._measure_later(rule, evaluation)

    def _slot(self, rule: Rule) -> datetime:
        now, every = self.parts.clock(), self.parts.rules.interval(rule)
        with self.parts.database.read() as connection:
            newest = evaluations.newest_slot(connection, self.parts.rules.model, rule.name)
        return due_slot(slot_of(now, every), now, every, newest)

    def _measure_later(self, rule: Rule, evaluation: Evaluation) -> None:
        """Let Evidently measure off the alarm's path: of evaluations that pile up, a rule's newest or gravest."""
        waiting = self._unmeasured.get(rule.name)
        if waiting is None or not graver(waiting[1].state, evaluation.state):
            self._unmeasured[rule.name] = (rule, evaluation)
        if waiting is None:
            self._measuring.submit(_steady(self._measure_newest), rule)

    def _measure_newest(self, rule: Rule) -> None:
        examine(self.parts, *self._unmeasured.pop(rule.name), self.measure, self._compare)
        examine_missed(self.parts, rule, self.measure)

    def deliver(self) -> None:
        """Have sent what the outbox holds; no channel is waited for."""
        if (lease := self._lease) is not None:
            self._courier.begin(lease)

    def govern(self) -> None:
        """Start, watch and close retrainings; heartbeats say nothing of who lives just after the clock was set."""
        if (lease := self._lease) is not None and not self.steps.within(self.parts.settings.abandoned_seconds):
            self._governor.round(lease)
        else:
            self._governor.watch()

    def plan(self) -> None:
        """Keep the sampling plan in step with the traffic."""
        if (lease := self._lease) is not None and (made := replan(self.parts, lease)) is not None:
            log.info("sampling plan: %.2g of all answers, up to %.2g", made.uniform, max([*made.strata.values(), 0]))

    def probate(self) -> None:
        """Hold a new champion against the one before, and send it back when it is worse."""
        if (lease := self._lease) is not None:
            self._warden.round(lease)

    def referee(self) -> None:
        """End the trial of a challenger that is found worse than the champion."""
        if (lease := self._lease) is not None:
            Referee(self.parts).round(lease)

    def anchor(self) -> None:
        """Write down the heads of the audit log's chains, outside the database; alarm where they contradict."""
        if (lease := self._lease) is not None:
            anchor_or_alarm(self.parts, self._anchoring, lease)

    def reconcile(self) -> None:
        """Close label audits that are done, tell of lost predictions, and make MLflow agree with the history."""
        if (lease := self._lease) is None:
            return
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            tasks.close_settled_audits(connection, self.parts.rules.model, self.parts.clock())
            post_losses(connection, self.parts)
        if promotion_service(self.parts).reconcile(self.parts.family.name):
            log.warning("the champion alias did not agree with the history and was set right")

    def match(self) -> None:
        """Take labels whose prediction has arrived since."""
        if self._lease is not None and (taken := match_waiting(self.parts)):
            log.info("%d label(s) found their prediction", taken)

    def retain(self) -> None:
        """Remove what is older than the settings keep, all of it, while this watcher leads."""
        if (lease := self._lease) is not None:
            pace = Pace(lambda: self._lease is not None and not self._stopping.is_set(), self._stopping.wait)
            retain(self.parts, self.parts.instance, lambda connection: leases.prove(connection, lease), pace)

    def _scheduler(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                "default": ThreadPoolExecutor(8),
                "evaluate": ThreadPoolExecutor(1),
                "aside": Aside(),
                "looking": Aside(),
            },
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        renewal = self.parts.settings.lease_seconds / 3
        for job, seconds in (
            (self.lead, renewal),
            (self.deliver, DELIVER_SECONDS),
            (self.govern, GOVERN_SECONDS),
            (self.reconcile, RECONCILE_SECONDS),
            (self.match, RECONCILE_SECONDS),
            (self.retain, RETAIN_SECONDS),
            (self.plan, PLAN_SECONDS),
            (self.probate, PROBATION_SECONDS),
            (self.referee, TRIAL_SECONDS),
            (self.anchor, ANCHOR_SECONDS),
        ):
            scheduler.add_job(_steady(job), IntervalTrigger(seconds=seconds, timezone=UTC), name=job.__name__)
        for rule in self.parts.rules.rules:
            seconds = self.parts.rules.interval(rule).total_seconds()
            scheduler.add_job(
                _steady(self.evaluate),
                IntervalTrigger(seconds=seconds, start_date=EPOCH, timezone=UTC),
                args=(rule,),
                name=f"evaluate {rule.name}",
                executor=_executor_of(rule),
                next_run_time=datetime.now(UTC),
            )
        return scheduler

    def _give_back(self) -> None:
        if self._lease is not None:
            with self.parts.database.write() as connection:
                leases.release(connection, self._lease)


def _executor_of(rule: Rule) -> str:
    """Where the rule is evaluated: what takes long, and code of somebody's own, holds up nothing but its like."""
    if rule.kind.own:
        return "aside"
    return "looking" if "pictures" in rule.kind.needs else "evaluate"


def _steady(job: Callable[..., None]) -> Callable[..., None]:
    """The job with the world's failures logged: a database or registry that is away ends no watcher."""

    def steady(*args: Rule) -> None:
        try:
            job(*args)
        except FencedError as error:
            log.warning("%s", error)
        except (PlatformError, RegistryError, MonitorError) as error:
            log.error("%s: %s", job.__name__, error)

    return steady
