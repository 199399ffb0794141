"""Starts, watches and closes the processes of retrainings: one at a time per pipeline, each in a process of its own."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from mlplatform.alerting.notifications import enqueue_notice
from mlplatform.audit import audit_entries
from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.errors import FencedError
from mlplatform.feedback.absent_labels import known_until
from mlplatform.ids import uuid7
from mlplatform.promotion import approvals
from mlplatform.promotion.approvals import Approval
from mlplatform.retraining import retraining_endings, retraining_limits, retraining_queue, withdrawal
from mlplatform.retraining.approval_requests import expire_approval
from mlplatform.retraining.memory_limit import describe_exit_code
from mlplatform.retraining.readiness import assess_readiness
from mlplatform.retraining.unsuccessful_retraining import build_unsuccessful_notice
from mlplatform.settings import Settings
from mlplatform.store import leases, tasks
from mlplatform.store.database import Database
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice
from monitors.rules.absent_label import AbsentLabel
from monitors.rules.alerts_config import Retraining as RetrainingPolicy
from registry.catalog import Catalog
from registry.errors import RegistryError
from registry.runs import TrackingStore

log = logging.getLogger(__name__)
STARTUP_SECONDS = 120.0
CLEANUP_PERIOD = timedelta(days=1)
RETRY_SECONDS = 30.0


def worker_command(retraining_id: str, owner: str) -> list[str]:
    """The command of the process that carries a retraining out."""
    return [sys.executable, "-P", "-m", "mlplatform", "work-retraining", retraining_id, owner]


def start_limits(policy: RetrainingPolicy) -> retraining_limits.RetrainingLimits:
    """The limits that alerts.yaml sets; dry runs open no breaker, as they promote nothing."""
    return retraining_limits.RetrainingLimits(
        policy.cooldown, policy.daily_cap, 0 if policy.dry_run else policy.breaker
    )


def can_start(
    connection: Connection, model: str, min_feedback: int, now: datetime, until: datetime | None = None
) -> bool:
    """Whether a retraining is queued and has labels enough; one that must wait records for how many."""
    queued = retraining_queue.find_queued(connection, model)
    if queued is None or queued.trigger != "alert":
        return queued is not None
    readiness = assess_readiness(connection, queued, min_feedback, now, until)
    progress = {"step": "waiting for labels", "labels": readiness.labels, "needed": readiness.required_labels}
    if not readiness.is_ready and queued.progress != progress:
        retraining_limits.record_hold(connection, queued.id, progress)
    return readiness.is_ready


def claim_next(
    connection: Connection,
    model: str,
    policy: RetrainingPolicy,
    owner: str,
    now: datetime,
    until: datetime | None = None,
) -> retraining_queue.Retraining | None:
    """Claim the model's next retraining for this owner, if one is queued, has labels enough and the limits allow it."""
    retraining_endings.cancel_if_alerts_ended(connection, model, now)
    if not can_start(connection, model, policy.min_feedback, now, until):
        return None
    return retraining_queue.claim(connection, model, owner, start_limits(policy), now)


@dataclass
class RetrainingSupervisor:
    """Claims queued retrainings, starts their process, and closes those whose process or watcher died.

    `enqueue` puts a notice about a retraining that brought nothing into the outbox, due at that moment.
    """

    model: str
    policy: RetrainingPolicy
    settings: Settings
    clock: Clock
    database: Database
    tracking: TrackingStore
    catalog: Catalog
    enqueue: Callable[[Connection, UnsuccessfulRetrainingNotice, datetime], object]
    expire_approval: Callable[[Connection, datetime], Approval | None]
    absent: AbsentLabel | None = None
    """What the absence of a label means, where alerts.yaml says it."""
    command: Callable[[str, str], list[str]] = worker_command
    terminate_timeout_seconds: float = 10.0
    startup_seconds: float = STARTUP_SECONDS
    _children: dict[str, tuple[str, "subprocess.Popen[bytes]", float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False
    _retry_cleanup_at: float = 0.0
    _last_notified: str = ""

    def tick(self, lease: leases.Lease) -> None:
        """Close the abandoned, look after the running, start the next; nothing after `close`."""
        with self._lock:
            if self._closed:
                return
            self._reap()
            self._close_abandoned(lease)
            self._withdraw_unfinished()
            self._expire_approval(lease)
            self._start_next(lease)

    def reap(self) -> None:
        """Collect children that ended; a retraining whose child died without closing it is closed as failed."""
        with self._lock:
            self._reap()

    def close(self) -> None:
        """End the running children and queue their work again, for the next watcher to do.

        The lock keeps a tick on another thread from taking an ended child for a failed one, or starting another.
        """
        with self._lock:
            self._closed = True
            for _, child, _ in self._children.values():
                _terminate(child, self.terminate_timeout_seconds)
            while self._children:
                retraining_id, (owner, _, _) = self._children.popitem()
                with self.database.write() as connection:
                    row = retraining_queue.find(connection, retraining_id)
                    retraining_endings.requeue_interrupted(connection, retraining_id, owner, self.clock())
                if row.run_id is not None and row.state == "running":
                    self._end_run(row.run_id)

    def _reap(self) -> None:
        for retraining_id, (owner, child, started_at) in list(self._children.items()):
            code = child.poll()
            if code is None:
                if time.monotonic() - started_at < self.startup_seconds:
                    self._send_heartbeat(retraining_id, owner)
                continue
            if code != 0:
                self._close_failed(retraining_id, owner, code)
            del self._children[retraining_id]

    def _start_next(self, lease: leases.Lease) -> None:
        now, owner = self.clock(), uuid7()
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            self._update_breaker(connection, now)
            until = None if self.absent is None else known_until(connection, self.model, self.absent, now)
            row = claim_next(connection, self.model, self.policy, owner, now, until)
            if row is None:
                return
            audit_entries.append(connection, "watcher", "retrain", f"retraining/{row.id}", now, {"reason": row.reason})
        named = {"PLATFORM_PIPELINE": self.settings.pipeline, "PLATFORM_MODEL": self.model}
        child = subprocess.Popen(  # noqa: S603 - a command of this product; its own session: only this process ends it
            self.command(row.id, owner), env=os.environ | named, start_new_session=True
        )
        self._children[row.id] = (owner, child, time.monotonic())
        log.info("retraining %s started in process %d: %s", row.id, child.pid, row.reason)

    def _expire_approval(self, lease: leases.Lease) -> None:
        """End the wait of a candidate that nobody decided on in time."""
        with self.database.read() as connection:
            waiting = approvals.find_waiting(connection, self.model)
        if waiting is None or waiting.expires_at > self.clock():
            return
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            expired = self.expire_approval(connection, self.clock())
        if expired is not None:
            log.warning("version %d was not approved in time", expired.version)

    def _update_breaker(self, connection: Connection, now: datetime) -> None:
        """Tell people of each retraining that brought nothing, and ask them once per streak of so many."""
        streak = retraining_limits.unsuccessful_streak(connection, self.model)
        is_open = bool(self.policy.breaker) and len(streak) >= self.policy.breaker
        # 1. The streak has ended, or another has begun: its task is closed.
        for task in tasks.open_tasks(connection, self.model, "review-retraining"):
            if not is_open or task.details["first"] != streak[-1]:
                tasks.close_task(connection, task.id, {"ended": "a person retrained or a version was promoted"}, now)
        is_new = bool(streak) and streak[0] != self._last_notified
        if not is_new and not is_open:
            return
        newest = retraining_queue.find(connection, streak[0])
        notice = build_unsuccessful_notice(
            newest, len(streak), self.policy.breaker, self.settings.public_url, self.clock()
        )
        # 2. Another retraining has brought nothing: people are told of it.
        if is_new:
            self.enqueue(connection, notice, newest.finished_at or now)
            self._last_notified = streak[0]
        # 3. There have been so many that no alert may start another one: a person has to look.
        if is_open:
            details = {"first": streak[-1], "retrainings": streak, "why": notice.sentences}
            key = f"review-retraining/{streak[-1]}"
            if tasks.open_task(connection, "review-retraining", self.model, details, now, key=key) is not None:
                audit_entries.append(
                    connection, "watcher", "breaker", f"model/{self.model}", now, {"retrainings": streak}
                )
                log.error("%d retrainings in a row brought nothing: %s", len(streak), " ".join(notice.sentences))

    def _send_heartbeat(self, retraining_id: str, owner: str) -> None:
        """Beat for a child that lives but cannot do so yet: importing torch takes seconds on a busy machine."""
        try:
            with self.database.write() as connection:
                retraining_queue.record_heartbeat(connection, retraining_id, owner, self.clock(), None)
        except FencedError:
            log.info("retraining %s was closed; its process notices by itself", retraining_id)

    def _close_failed(self, retraining_id: str, owner: str, code: int) -> None:
        try:
            with self.database.write() as connection:
                retraining_endings.finish(
                    connection,
                    retraining_id,
                    owner,
                    "failed",
                    self.clock(),
                    error=describe_exit_code(code, self.settings.training_memory_mb),
                )
        except FencedError:
            log.info("retraining %s ended and had closed its row", retraining_id)

    def _close_abandoned(self, lease: leases.Lease) -> None:
        age = timedelta(seconds=self.settings.abandoned_seconds)
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            now = self.clock()
            closed = retraining_endings.close_abandoned(connection, now, age, self.model)
            for row, rerun in closed:
                audit_entries.append(connection, "watcher", "abandon", f"retraining/{row.id}", now, {"rerun": rerun})
        for row, rerun in closed:
            log.warning("retraining %s was abandoned; run again as %s", row.id, rerun)
            if row.run_id is not None:
                self._end_run(row.run_id)

    def _withdraw_unfinished(self) -> None:
        """Take out of the registry what a training that was closed and killed has left there."""
        if time.monotonic() < self._retry_cleanup_at:
            return
        with self.database.read() as connection:
            interrupted = withdrawal.interrupted_retrainings(connection, self.model, self.clock() - CLEANUP_PERIOD)
        for row in interrupted:
            if row.id in self._children:  # it sees to that itself when it notices
                continue
            try:
                withdrawal.withdraw_versions(self.database, self.catalog, row, "watcher", self.clock())
            except RegistryError as error:
                log.warning("what retraining %s has left in the registry stays for now: %s", row.id, error)
                self._retry_cleanup_at = time.monotonic() + RETRY_SECONDS
                return
            with self.database.write() as connection:
                withdrawal.clear_owner(connection, row.id)

    def _end_run(self, run_id: str) -> None:
        try:
            self.tracking.close_run(run_id, "KILLED")
        except RegistryError as error:
            log.warning("MLflow run %s stays open: %s", run_id, error)


def _terminate(child: "subprocess.Popen[bytes]", patience_seconds: float) -> None:
    child.terminate()
    try:
        child.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def retraining_supervisor(
    context: AppContext,
    command: Callable[[str, str], list[str]] = worker_command,
    *,
    terminate_timeout_seconds: float = 10.0,
    startup_seconds: float = STARTUP_SECONDS,
) -> RetrainingSupervisor:
    """The supervisor of the retrainings of the model that alerts.yaml watches."""

    def enqueue(connection: Connection, notice: UnsuccessfulRetrainingNotice, now: datetime) -> int:
        return enqueue_notice(connection, context, notice, now)

    return RetrainingSupervisor(
        model=context.rules.model,
        policy=context.rules.retraining,
        settings=context.settings,
        clock=context.clock,
        database=context.database,
        tracking=context.tracking,
        catalog=context.catalog,
        enqueue=enqueue,
        expire_approval=lambda connection, now: expire_approval(
            connection, context, context.rules.model, "watcher", now
        ),
        absent=context.rules.absent,
        command=command,
        terminate_timeout_seconds=terminate_timeout_seconds,
        startup_seconds=startup_seconds,
    )
