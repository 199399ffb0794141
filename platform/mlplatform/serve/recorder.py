"""The recorder: predictions on their way to the database; an answer never waits for it and never fails by it.

A bounded queue and one writing thread with group commit. While the database is away rows wait; when the queue is
full the newest are dropped, counted and logged, never silently. Memory is bounded by `capacity` rows. Between batches
the thread writes how many requests ended how.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlplatform.errors import StoreUnavailableError
from mlplatform.serve.decode import to_png
from mlplatform.serve.requests import RequestCounts
from mlplatform.store.database import Database
from mlplatform.store.predictions import Prediction, Recorded, record
from pipelines.data import content_hash

log = logging.getLogger(__name__)
RETRY_FIRST_SECONDS = 0.1
RETRY_LONGEST_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """A prediction whose image is not hashed and encoded yet: that happens off the answer's path."""

    prediction: Prediction
    image: NDArray[np.uint8]
    host_class: str = ""


@dataclass(frozen=True)
class Counts:
    """How many predictions were recorded, wait, were dropped (queue full) and failed (refused by the store)."""

    recorded: int
    queued: int
    dropped: int
    failed: int


class Recorder:
    """Writes answers in batches from its own thread; start it once, close it at the end."""

    waits = False
    """Whether `put` may wait, for a disk or a database: then it is called off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        capacity: int,
        batch: int,
        flush_seconds: float,
        instance: str = "",
        sleep: Callable[[float], object] | None = None,
        requests: RequestCounts | None = None,
    ) -> None:
        self._database, self._instance = database, instance
        self._capacity, self._batch, self._flush_seconds = capacity, batch, flush_seconds
        self._waiting: deque[Answer] = deque()
        self._in_hand = self._in_a_hurry = 0
        self._recorded = self._dropped = self._failed = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._requests = requests
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def put(self, answers: Sequence[Answer]) -> int:
        """Queue answers without waiting; returns how many did not fit and were dropped."""
        with self._changed:
            room = 0 if self._closing.is_set() else max(0, self._capacity - len(self._waiting) - self._in_hand)
            self._waiting.extend(answers[:room])
            lost = len(answers) - min(room, len(answers))
            self._dropped += lost
            self._changed.notify_all()
        if lost:
            log.error("recorder full: %d prediction(s) answered but not recorded", lost)
        return lost

    def counts(self) -> Counts:
        """The counters now."""
        with self._changed:
            return Counts(self._recorded, len(self._waiting) + self._in_hand, self._dropped, self._failed)

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued so far is settled; False when the time ran out."""
        with self._changed:
            goal = self._recorded + self._failed + len(self._waiting) + self._in_hand
            self._in_a_hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._recorded + self._failed >= goal, timeout)
            finally:
                self._in_a_hurry -= 1

    def close(self, timeout: float = 10.0) -> Counts:
        """Write what waits, at most for `timeout` seconds, and stop; what is left is counted as dropped."""
        self.flush(timeout)
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout=2.0)
        with self._changed:
            left = len(self._waiting) + self._in_hand
            self._dropped += left
            self._waiting.clear()
        if left:
            log.error("recorder closed with %d prediction(s) not recorded", left)
        return self.counts()

    def _run(self) -> None:
        while not self._closing.is_set():
            batch = self._next_batch()
            if batch:
                self._write(batch)
            if self._requests is not None:
                self._requests.write()
        if self._requests is not None:
            self._requests.write(now=True)

    def _next_batch(self) -> list[Answer]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing.is_set(), timeout=1.0)
            if len(self._waiting) < self._batch and self._waiting:
                self._changed.wait_for(
                    lambda: len(self._waiting) >= self._batch or self._in_a_hurry > 0 or self._closing.is_set(),
                    self._flush_seconds,
                )
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            self._in_hand = len(batch)
            return batch

    def _write(self, batch: list[Answer]) -> None:
        try:
            self._insert(batch)
        except Exception as refusal:  # a thread's edge: one row may fail in any way, the others are still written
            if len(batch) == 1:
                log.exception("prediction %s could not be recorded", batch[0].prediction.id)
                self._settle(failed=1)
                return
            log.warning("a batch was refused (%s): writing its %d rows one by one", type(refusal).__name__, len(batch))
            for answer in batch:
                self._write([answer])

    def _insert(self, batch: list[Answer]) -> None:
        """Write rows together; while the store is away, wait and repeat until closed."""
        rows = [_encoded(answer) for answer in batch]
        delay = RETRY_FIRST_SECONDS
        while not self._closing.is_set():
            try:
                with self._database.write() as connection:
                    record(connection, rows, self._instance)
            except StoreUnavailableError as error:
                log.warning("recording waits %.1f s: %s", delay, error)
                self._sleep(delay)
                delay = min(delay * 2, RETRY_LONGEST_SECONDS)
            else:
                self._settle(recorded=len(rows))
                return

    def _settle(self, *, recorded: int = 0, failed: int = 0) -> None:
        with self._changed:
            self._recorded += recorded
            self._failed += failed
            self._in_hand -= recorded + failed
            self._changed.notify_all()


def _encoded(answer: Answer) -> Recorded:
    prediction = replace(answer.prediction, image_hash=content_hash(answer.image))
    return Recorded(prediction, to_png(answer.image), answer.host_class)
