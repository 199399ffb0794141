"""The governor of retrainings: one at a time per pipeline, each in a process of its own; it trains nothing itself."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta

from mlplatform.build import Parts
from mlplatform.clock import new_id
from mlplatform.errors import FencedError
from mlplatform.store import audit, joined, leases, retrainings
from registry.errors import RegistryError

log = logging.getLogger(__name__)


@dataclass
class Governor:
    """Claims queued retrainings, starts their process, and closes those whose process or watcher died."""

    parts: Parts
    _children: dict[str, tuple[str, "subprocess.Popen[bytes]"]] = field(default_factory=dict)

    def round(self, lease: leases.Lease) -> None:
        """Close the abandoned, look after the running, start the next."""
        self.watch()
        self._close_abandoned(lease)
        with self.parts.database.read() as connection:
            waiting = retrainings.queued_pipelines(connection)
        for pipeline in waiting:
            self._start_next(pipeline, lease)

    def watch(self) -> None:
        """Collect children that ended; one that died without closing its row is closed as failed."""
        for retraining_id, (owner, child) in list(self._children.items()):
            code = child.poll()
            if code is None:
                continue
            del self._children[retraining_id]
            if code != 0:
                self._close_failed(retraining_id, owner, code)

    def close(self) -> None:
        """End the running children and queue their work again, for the next watcher to do."""
        for retraining_id, (owner, child) in self._children.items():
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            with self.parts.database.write() as connection:
                retrainings.hand_back(connection, retraining_id, owner, self.parts.clock())
        self._children.clear()

    def _start_next(self, pipeline: str, lease: leases.Lease) -> None:
        config, now, owner = self.parts.rules.retraining, self.parts.clock(), new_id()
        limits = retrainings.Limits(config.cooldown, config.daily_cap)
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            by_alert = retrainings.queued_trigger(connection, pipeline) == "alert"
            if by_alert and joined.labels_count(connection, pipeline) < config.min_feedback:
                return
            row = retrainings.claim(connection, pipeline, owner, limits, now)
            if row is None:
                return
            audit.note(connection, "watcher", "retrain", f"retraining/{row.id}", now, {"reason": row.reason})
        command = [sys.executable, "-m", "mlplatform", "work-retraining", row.id, owner]
        child = subprocess.Popen(command, env=os.environ | {"PLATFORM_PIPELINE": pipeline})  # noqa: S603
        self._children[row.id] = (owner, child)
        log.info("retraining %s started in process %d: %s", row.id, child.pid, row.reason)

    def _close_failed(self, retraining_id: str, owner: str, code: int) -> None:
        try:
            with self.parts.database.write() as connection:
                retrainings.finish(
                    connection,
                    retraining_id,
                    owner,
                    "failed",
                    self.parts.clock(),
                    error=f"its process ended with code {code}",
                )
        except FencedError:
            log.info("retraining %s ended and had closed its row", retraining_id)

    def _close_abandoned(self, lease: leases.Lease) -> None:
        age = timedelta(seconds=self.parts.settings.abandoned_seconds)
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            closed = retrainings.close_abandoned(connection, self.parts.clock(), age)
            for row, rerun in closed:
                now = self.parts.clock()
                audit.note(connection, "watcher", "abandon", f"retraining/{row.id}", now, {"rerun": rerun})
        for row, rerun in closed:
            log.warning("retraining %s was abandoned; run again as %s", row.id, rerun)
            if row.run_id is not None:
                self._end_run(row.run_id)

    def _end_run(self, run_id: str) -> None:
        try:
            self.parts.tracking.close_run(run_id, "KILLED")
        except RegistryError as error:
            log.warning("MLflow run %s stays open: %s", run_id, error)
