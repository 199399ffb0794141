"""The heartbeat of a training process: keeps its retraining alive and notices when somebody else has closed it."""

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.clock import Clock
from mlplatform.errors import FencedError, StoreUnavailableError
from mlplatform.retraining import retraining_queue
from mlplatform.store.database import Database
from pipelines.trainer import EpochMetrics

log = logging.getLogger(__name__)
EXIT_PARENT_DIED: Final = 75
OWNERSHIP_ATTEMPTS: Final = 4
"""How often the database is asked who owns the retraining before its being away is an error."""


@dataclass
class RetrainingHeartbeat:
    """Beats for one running retraining from a thread of its own, each beat with the progress made.

    Ends the process when its parent has died. Sets `ownership_lost` when the retraining was closed by somebody else.
    """

    database: Database
    clock: Clock
    interval_seconds: float
    retraining_id: str
    owner: str
    ownership_lost: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _progress: dict[str, Any] | None = None
    _label_use: dict[str, Any] = field(default_factory=dict)
    _parent: int = field(default_factory=os.getppid)

    def start(self) -> None:
        """Begin beating."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def close(self) -> None:
        """Beat no more."""
        self._stopping.set()

    def set_step(self, step: str) -> None:
        """Set what is being done; the next beat carries it."""
        self._progress = {"step": step, **self._label_use}

    def set_label_use(self, usage: Mapping[str, Any] | None) -> None:
        """Set what became of the labels, for all beats to come; None where there were none."""
        self._label_use = {} if usage is None else {"label_use": dict(usage)}

    def report_epoch(self, metrics: EpochMetrics) -> None:
        """Set how far the training is; the next beat carries it."""
        self._progress = {
            "step": "training" if metrics.epoch < metrics.epochs else "judging",
            "epoch": metrics.epoch,
            "epochs": metrics.epochs,
            "validation_accuracy": round(metrics.validation_accuracy, 4),
            **self._label_use,
        }

    def owns_retraining(self) -> bool:
        """Ask the database whether the retraining is still this process's; one that is away is waited for a while.

        Raises StoreUnavailableError when it stays away.
        """
        for attempt in range(1, OWNERSHIP_ATTEMPTS + 1):
            try:
                with self.database.write() as connection:
                    retraining_queue.require_running(connection, self.retraining_id, self.owner)
                return not self.ownership_lost.is_set()
            except FencedError:
                self.ownership_lost.set()
            except StoreUnavailableError:
                if attempt == OWNERSHIP_ATTEMPTS:
                    raise
            if self.ownership_lost.wait(self.interval_seconds):
                return False
        return False

    def _run(self) -> None:
        while not self._stopping.wait(self.interval_seconds):
            if os.getppid() != self._parent:
                log.error("the watcher that started this retraining died; ending with it")
                os._exit(EXIT_PARENT_DIED)
            try:
                with self.database.write() as connection:
                    retraining_queue.record_heartbeat(
                        connection, self.retraining_id, self.owner, self.clock(), self._progress
                    )
            except FencedError as error:
                log.warning("%s", error)
                self.ownership_lost.set()
                return
            except (StoreUnavailableError, MemoryError) as error:  # the next beat may find it better
                log.warning("no heartbeat: %s", error)
