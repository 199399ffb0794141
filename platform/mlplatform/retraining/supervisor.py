"""The governor of retrainings: one at a time per pipeline, each in a process of its own; it trains nothing itself."""

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

from mlplatform.audit import audit_entries
from mlplatform.clock import uuid7
from mlplatform.context import AppContext
from mlplatform.errors import FencedError
from mlplatform.retraining import retraining_limits, retraining_queue, unfinished_runs
from mlplatform.retraining.memory_limit import describe_exit_code
from mlplatform.retraining.readiness import assess_readiness
from mlplatform.retraining.unsuccessful_retraining import build_stall, enqueue_stall_notice
from mlplatform.retraining.withdrawal import withdraw_versions
from mlplatform.store import leases, tasks
from registry.errors import RegistryError

log = logging.getLogger(__name__)
STARTUP_SECONDS = 120.0
CLEANUP_PERIOD = timedelta(days=1)
RETRY_SECONDS = 30.0


def worker_command(retraining_id: str, owner: str) -> list[str]:
    """The command of the process that carries a retraining out."""
    return [sys.executable, "-P", "-m", "mlplatform", "work-retraining", retraining_id, owner]


def start_limits(context: AppContext) -> retraining_limits.RetrainingLimits:
    """The limits as alerts.yaml has them; dry runs prove nothing useless."""
    config = context.rules.retraining
    return retraining_limits.RetrainingLimits(
        config.cooldown, config.daily_cap, 0 if config.dry_run else config.breaker
    )


def can_start(connection: Connection, model: str, min_feedback: int, now: datetime) -> bool:
    """Whether there is a queued retraining with labels enough; one that must wait says for how many."""
    waiting = retraining_queue.find_queued(connection, model)
    if waiting is None or waiting.trigger != "alert":
        return waiting is not None
    ripe = assess_readiness(connection, waiting, min_feedback, now)
    told = {"step": "waiting for labels", "labels": ripe.labels, "needed": ripe.required_labels}
    if not ripe.is_ready and waiting.progress != told:
        retraining_limits.record_hold(connection, waiting.id, told)
    return ripe.is_ready


def claim_next(context: AppContext, connection: Connection, owner: str) -> retraining_queue.Retraining | None:
    """The model's next retraining for this owner, if one is queued, has labels enough and the limits allow it."""
    pipeline, now = context.rules.model, context.clock()
    retraining_queue.cancel_if_alerts_ended(connection, pipeline, now)
    if not can_start(connection, pipeline, context.rules.retraining.min_feedback, context.clock()):
        return None
    return retraining_queue.claim(connection, pipeline, owner, start_limits(context), now)


@dataclass
class RetrainingSupervisor:
    """Claims queued retrainings, starts their process, and closes those whose process or watcher died."""

    context: AppContext
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
            self._start_next(self.context.rules.model, lease)

    def reap(self) -> None:
        """Collect children that ended; one that died without closing its row is closed as failed."""
        with self._lock:
            self._reap()

    def close(self) -> None:
        """End the running children and queue their work again, for the next watcher to do.

        The lock keeps a round on another thread from taking an ended child for a failed one, or starting another.
        """
        with self._lock:
            self._closed = True
            for _, child, _ in self._children.values():
                _terminate(child, self.terminate_timeout_seconds)
            while self._children:
                retraining_id, (owner, _, _) = self._children.popitem()
                with self.context.database.write() as connection:
                    row = retraining_queue.find(connection, retraining_id)
                    retraining_queue.requeue_interrupted(connection, retraining_id, owner, self.context.clock())
                if row.run_id is not None and row.state == "running":
                    self._end_run(row.run_id)

    def _reap(self) -> None:
        for retraining_id, (owner, child, begun) in list(self._children.items()):
            code = child.poll()
            if code is None:
                if time.monotonic() - begun < self.startup_seconds:
                    self._send_heartbeat(retraining_id, owner)
                continue
            if code != 0:
                self._close_failed(retraining_id, owner, code)
            del self._children[retraining_id]

    def _start_next(self, model: str, lease: leases.Lease) -> None:
        now, owner = self.context.clock(), uuid7()
        with self.context.database.write() as connection:
            leases.require_lease(connection, lease)
            self._open_breaker_task(connection, model)
            row = claim_next(self.context, connection, owner)
            if row is None:
                return
            audit_entries.append(connection, "watcher", "retrain", f"retraining/{row.id}", now, {"reason": row.reason})
        child = subprocess.Popen(  # noqa: S603 - a command of this product; its own session: only this process ends it
            self.command(row.id, owner), env=os.environ | {"PLATFORM_PIPELINE": model}, start_new_session=True
        )
        self._children[row.id] = (owner, child, time.monotonic())
        log.info("retraining %s started in process %d: %s", row.id, child.pid, row.reason)

    def _open_breaker_task(self, connection: Connection, model: str) -> None:
        """Open one task per streak of useless retrainings, and close it when the streak has ended."""
        now, breaker = self.context.clock(), self.context.rules.retraining.breaker
        streak = retraining_limits.unsuccessful_streak(connection, model)
        broken = bool(breaker) and len(streak) >= breaker
        for task in tasks.open_tasks(connection, model, "review-retraining"):
            if not broken or task.details["first"] != streak[-1]:
                tasks.close_task(connection, task.id, {"ended": "a person retrained or a version was promoted"}, now)
        if streak and streak[0] != self._last_notified:
            enqueue_stall_notice(connection, self.context, streak)
            self._last_notified = streak[0]
        if broken:
            key = f"review-retraining/{streak[-1]}"
            newest = build_stall(self.context, retraining_queue.find(connection, streak[0]), len(streak))
            details = {"first": streak[-1], "retrainings": streak, "why": newest.sentences}
            if tasks.open_task(connection, "review-retraining", model, details, now, key=key) is not None:
                audit_entries.append(connection, "watcher", "breaker", f"model/{model}", now, {"retrainings": streak})
                log.error("%d retrainings in a row brought nothing: %s", len(streak), " ".join(newest.sentences))

    def _send_heartbeat(self, retraining_id: str, owner: str) -> None:
        """Vouch for a child that lives but cannot beat yet: importing torch takes seconds on a busy machine."""
        try:
            with self.context.database.write() as connection:
                retraining_queue.record_heartbeat(connection, retraining_id, owner, self.context.clock(), None)
        except FencedError:
            log.info("retraining %s was closed; its process notices by itself", retraining_id)

    def _close_failed(self, retraining_id: str, owner: str, code: int) -> None:
        try:
            with self.context.database.write() as connection:
                retraining_queue.finish(
                    connection,
                    retraining_id,
                    owner,
                    "failed",
                    self.context.clock(),
                    error=describe_exit_code(code, self.context.settings.training_memory_mb),
                )
        except FencedError:
            log.info("retraining %s ended and had closed its row", retraining_id)

    def _close_abandoned(self, lease: leases.Lease) -> None:
        age = timedelta(seconds=self.context.settings.abandoned_seconds)
        with self.context.database.write() as connection:
            leases.require_lease(connection, lease)
            closed = retraining_queue.close_abandoned(connection, self.context.clock(), age, self.context.rules.model)
            for row, rerun in closed:
                now = self.context.clock()
                audit_entries.append(connection, "watcher", "abandon", f"retraining/{row.id}", now, {"rerun": rerun})
        for row, rerun in closed:
            log.warning("retraining %s was abandoned; run again as %s", row.id, rerun)
            if row.run_id is not None:
                self._end_run(row.run_id)

    def _withdraw_unfinished(self) -> None:
        """Take out of the registry what a training that was closed and killed has left there."""
        if time.monotonic() < self._retry_cleanup_at:
            return
        with self.context.database.read() as connection:
            closed = unfinished_runs.interrupted_retrainings(
                connection, self.context.rules.model, self.context.clock() - CLEANUP_PERIOD
            )
        for row in closed:
            if row.id in self._children:  # it sees to that itself when it notices
                continue
            try:
                withdraw_versions(self.context, row, "watcher")
            except RegistryError as error:
                log.warning("what retraining %s has left in the registry stays for now: %s", row.id, error)
                self._retry_cleanup_at = time.monotonic() + RETRY_SECONDS
                return
            with self.context.database.write() as connection:
                unfinished_runs.clear_owner(connection, row.id)

    def _end_run(self, run_id: str) -> None:
        try:
            self.context.tracking.close_run(run_id, "KILLED")
        except RegistryError as error:
            log.warning("MLflow run %s stays open: %s", run_id, error)


def _terminate(child: "subprocess.Popen[bytes]", patience_seconds: float) -> None:
    child.terminate()
    try:
        child.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
