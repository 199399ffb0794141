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
from mlplatform.clock import new_id
from mlplatform.context import Parts
from mlplatform.errors import FencedError
from mlplatform.retraining import retraining_limits, retraining_queue, unfinished_runs
from mlplatform.retraining.memory_limit import told_by_code
from mlplatform.retraining.readiness import ripeness
from mlplatform.retraining.unsuccessful_retraining import post_stall, stall_of
from mlplatform.retraining.withdrawal import withdraw
from mlplatform.store import leases, tasks
from registry.errors import RegistryError

log = logging.getLogger(__name__)
STARTING_SECONDS = 120.0
LATELY = timedelta(days=1)
RETRY_SECONDS = 30.0


def work_command(retraining_id: str, owner: str) -> list[str]:
    """The command of the process that carries a retraining out."""
    return [sys.executable, "-P", "-m", "mlplatform", "work-retraining", retraining_id, owner]


def limits_of(parts: Parts) -> retraining_limits.Limits:
    """The limits as alerts.yaml has them; dry runs prove nothing useless."""
    config = parts.rules.retraining
    return retraining_limits.Limits(config.cooldown, config.daily_cap, 0 if config.dry_run else config.breaker)


def may_start(connection: Connection, pipeline: str, min_feedback: int, now: datetime) -> bool:
    """Whether there is a queued retraining with labels enough; one that must wait says for how many."""
    waiting = retraining_queue.queued(connection, pipeline)
    if waiting is None or waiting.trigger != "alert":
        return waiting is not None
    ripe = ripeness(connection, waiting, min_feedback, now)
    told = {"step": "waiting for labels", "labels": ripe.labels, "needed": ripe.needed}
    if not ripe.is_ripe and waiting.progress != told:
        retraining_limits.note_waiting(connection, waiting.id, told)
    return ripe.is_ripe


def claim_next(parts: Parts, connection: Connection, owner: str) -> retraining_queue.Retraining | None:
    """The model's next retraining for this owner, if one is queued, has labels enough and the limits allow it."""
    pipeline, now = parts.rules.model, parts.clock()
    retraining_queue.drop_settled(connection, pipeline, now)
    if not may_start(connection, pipeline, parts.rules.retraining.min_feedback, parts.clock()):
        return None
    return retraining_queue.claim(connection, pipeline, owner, limits_of(parts), now)


@dataclass
class Governor:
    """Claims queued retrainings, starts their process, and closes those whose process or watcher died."""

    parts: Parts
    command: Callable[[str, str], list[str]] = work_command
    patience_seconds: float = 10.0
    starting_seconds: float = STARTING_SECONDS
    _children: dict[str, tuple[str, "subprocess.Popen[bytes]", float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False
    _not_before: float = 0.0
    _told_of: str = ""

    def round(self, lease: leases.Lease) -> None:
        """Close the abandoned, look after the running, start the next; nothing after `close`."""
        with self._lock:
            if self._closed:
                return
            self._collect()
            self._close_abandoned(lease)
            self._take_back()
            self._start_next(self.parts.rules.model, lease)

    def watch(self) -> None:
        """Collect children that ended; one that died without closing its row is closed as failed."""
        with self._lock:
            self._collect()

    def close(self) -> None:
        """End the running children and queue their work again, for the next watcher to do.

        The lock keeps a round on another thread from taking an ended child for a failed one, or starting another.
        """
        with self._lock:
            self._closed = True
            for _, child, _ in self._children.values():
                _end(child, self.patience_seconds)
            while self._children:
                retraining_id, (owner, _, _) = self._children.popitem()
                with self.parts.database.write() as connection:
                    row = retraining_queue.find(connection, retraining_id)
                    retraining_queue.hand_back(connection, retraining_id, owner, self.parts.clock())
                if row.run_id is not None and row.state == "running":
                    self._end_run(row.run_id)

    def _collect(self) -> None:
        for retraining_id, (owner, child, begun) in list(self._children.items()):
            code = child.poll()
            if code is None:
                if time.monotonic() - begun < self.starting_seconds:
                    self._beat(retraining_id, owner)
                continue
            if code != 0:
                self._close_failed(retraining_id, owner, code)
            del self._children[retraining_id]

    def _start_next(self, pipeline: str, lease: leases.Lease) -> None:
        now, owner = self.parts.clock(), new_id()
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            self._ask_a_person(connection, pipeline)
            row = claim_next(self.parts, connection, owner)
            if row is None:
                return
            audit_entries.note(connection, "watcher", "retrain", f"retraining/{row.id}", now, {"reason": row.reason})
        child = subprocess.Popen(  # noqa: S603 - a command of this product; its own session: only this process ends it
            self.command(row.id, owner), env=os.environ | {"PLATFORM_PIPELINE": pipeline}, start_new_session=True
        )
        self._children[row.id] = (owner, child, time.monotonic())
        log.info("retraining %s started in process %d: %s", row.id, child.pid, row.reason)

    def _ask_a_person(self, connection: Connection, pipeline: str) -> None:
        """Open one task per streak of useless retrainings, and close it when the streak has ended."""
        now, breaker = self.parts.clock(), self.parts.rules.retraining.breaker
        streak = retraining_limits.useless_streak(connection, pipeline)
        broken = bool(breaker) and len(streak) >= breaker
        for task in tasks.open_tasks(connection, pipeline, "review-retraining"):
            if not broken or task.details["first"] != streak[-1]:
                tasks.close_task(connection, task.id, {"ended": "a person retrained or a version was promoted"}, now)
        if streak and streak[0] != self._told_of:
            post_stall(connection, self.parts, streak)
            self._told_of = streak[0]
        if broken:
            key = f"review-retraining/{streak[-1]}"
            newest = stall_of(self.parts, retraining_queue.find(connection, streak[0]), len(streak))
            details = {"first": streak[-1], "retrainings": streak, "why": newest.sentences}
            if tasks.open_task(connection, "review-retraining", pipeline, details, now, key=key) is not None:
                audit_entries.note(connection, "watcher", "breaker", f"model/{pipeline}", now, {"retrainings": streak})
                log.error("%d retrainings in a row brought nothing: %s", len(streak), " ".join(newest.sentences))

    def _beat(self, retraining_id: str, owner: str) -> None:
        """Vouch for a child that lives but cannot beat yet: importing torch takes seconds on a busy machine."""
        try:
            with self.parts.database.write() as connection:
                retraining_queue.beat(connection, retraining_id, owner, self.parts.clock(), None)
        except FencedError:
            log.info("retraining %s was closed; its process notices by itself", retraining_id)

    def _close_failed(self, retraining_id: str, owner: str, code: int) -> None:
        try:
            with self.parts.database.write() as connection:
                retraining_queue.finish(
                    connection,
                    retraining_id,
                    owner,
                    "failed",
                    self.parts.clock(),
                    error=told_by_code(code, self.parts.settings.training_memory_mb),
                )
        except FencedError:
            log.info("retraining %s ended and had closed its row", retraining_id)

    def _close_abandoned(self, lease: leases.Lease) -> None:
        age = timedelta(seconds=self.parts.settings.abandoned_seconds)
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            closed = retraining_queue.close_abandoned(connection, self.parts.clock(), age, self.parts.rules.model)
            for row, rerun in closed:
                now = self.parts.clock()
                audit_entries.note(connection, "watcher", "abandon", f"retraining/{row.id}", now, {"rerun": rerun})
        for row, rerun in closed:
            log.warning("retraining %s was abandoned; run again as %s", row.id, rerun)
            if row.run_id is not None:
                self._end_run(row.run_id)

    def _take_back(self) -> None:
        """Take out of the registry what a training that was closed and killed has left there."""
        if time.monotonic() < self._not_before:
            return
        with self.parts.database.read() as connection:
            closed = unfinished_runs.unfinished(connection, self.parts.rules.model, self.parts.clock() - LATELY)
        for row in closed:
            if row.id in self._children:  # it sees to that itself when it notices
                continue
            try:
                withdraw(self.parts, row, "watcher")
            except RegistryError as error:
                log.warning("what retraining %s has left in the registry stays for now: %s", row.id, error)
                self._not_before = time.monotonic() + RETRY_SECONDS
                return
            with self.parts.database.write() as connection:
                unfinished_runs.disown(connection, row.id)

    def _end_run(self, run_id: str) -> None:
        try:
            self.parts.tracking.close_run(run_id, "KILLED")
        except RegistryError as error:
            log.warning("MLflow run %s stays open: %s", run_id, error)


def _end(child: "subprocess.Popen[bytes]", patience_seconds: float) -> None:
    child.terminate()
    try:
        child.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
