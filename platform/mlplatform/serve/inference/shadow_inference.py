"""Lets the version of a rollout that did not answer predict as well, on a thread of its own, in what time is left.

While a rollout runs, each input is also shown to the version that did not answer it. A bounded queue holds what
waits; what does not fit, or waits too long, is dropped and counted. The thread yields: it begins nothing while a
request is under way, takes few inputs at once, has a lower priority where the system knows that for threads, one
intra-op thread, and rests longer than it worked. On a host that is always busy it drops nearly everything. Answers are
written in batches, and lost, counted, while the store is away: they are evidence about a challenger, not a record of
service.
"""

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.predictions import shadow_predictions
from mlplatform.predictions.shadow_predictions import ShadowPrediction
from mlplatform.promotion.rollouts import CHAMPION_ROLE
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.rollout_router import RolloutRouter
from mlplatform.store.timeouts import reserved_connections
from pipelines.batch import Batch

log = logging.getLogger(__name__)
MAX_QUEUED_ROWS: Final = 512
BATCH_SIZE: Final = 4
REST_FACTOR: Final = 3.0
"""So many times as long as it worked the thread rests."""
MAX_WAIT_SECONDS: Final = 5.0
"""An input that found no quiet moment for so long is dropped."""
POLL_SECONDS: Final = 0.01
WRITE_ROWS: Final = 200
WRITE_SECONDS: Final = 1.0
NICENESS: Final = 10


@dataclass(frozen=True)
class ShadowTask:
    """One input to be shown to another version than the one that answered it."""

    rollout_id: str
    prediction_id: str
    model: LoadedModel
    is_challenger: bool
    row: Batch
    enqueued_at: float


class ShadowInference:
    """The queue and the thread; start it once, close it at the end."""

    def __init__(
        self, context: AppContext, rollout_router: RolloutRouter, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._context, self._rollout_router, self._is_busy = context, rollout_router, busy
        self._max_queued, self._max_wait_seconds = MAX_QUEUED_ROWS, MAX_WAIT_SECONDS
        self._queue: deque[ShadowTask] = deque()
        self._unwritten: list[ShadowPrediction] = []
        self._written_at = time.monotonic()
        self._counts = {"recorded": 0, "dropped": 0, "failed": 0}
        self._condition = threading.Condition()
        self._closing = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin working."""
        self._thread.start()

    def enqueue(self, champion: LoadedModel, role: str, ids: Sequence[str], batch: Batch) -> None:
        """Note inputs that were just answered; returns at once, whatever becomes of them."""
        challenger = self._rollout_router.for_champion(champion)
        if challenger is None:
            return
        model, challenges = (challenger.model, True) if role == CHAMPION_ROLE else (champion, False)
        now = time.monotonic()
        with self._condition:
            room = 0 if self._closing else max(0, self._max_queued - len(self._queue))
            for place, key in enumerate(ids[:room]):
                row = batch[place : place + 1]
                self._queue.append(ShadowTask(challenger.rollout.id, key, model, challenges, row, now))
            self._counts["dropped"] += max(0, len(ids) - room)
            self._condition.notify_all()

    def counts(self) -> Mapping[str, int]:
        """How many answers were recorded, wait, were dropped (no room, or no store) and failed."""
        with self._condition:
            return {**self._counts, "queued": len(self._queue)}

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until nothing waits and everything is written; False when the time ran out."""
        with self._condition:
            return self._condition.wait_for(lambda: not (self._queue or self._busy or self._unwritten), seconds)

    def close(self) -> None:
        """Write what is answered and stop; what waits still is dropped."""
        with self._condition:
            self._closing = True
            self._counts["dropped"] += len(self._queue)
            self._queue.clear()
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    @reserved_connections()
    def _run(self) -> None:
        if sys.platform == "linux":
            with suppress(OSError):  # a thread's own priority, which a sandbox may refuse
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._closing:
            batch = self._next_batch()
            started_at = time.monotonic()
            try:
                if batch:
                    self._predict(batch)
                self._write()
            except Exception:  # a thread's edge: the next inputs must still be looked at
                log.exception("the shadow goes on")
                self._count("failed", len(batch))
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                if batch and not self._closing:
                    self._condition.wait_for(lambda: self._closing, REST_FACTOR * (time.monotonic() - started_at))
        self._write(now=True)

    def _next_batch(self) -> list[ShadowTask]:
        """Some inputs for one version in a quiet moment, or none after a while."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._queue) or self._closing, WRITE_SECONDS / 4)
        deadline = time.monotonic() + WRITE_SECONDS / 4
        while self._is_busy() and not self._closing:
            if time.monotonic() > deadline:
                self._drop_expired()
                return []
            time.sleep(POLL_SECONDS)
        with self._condition:
            batch: list[ShadowTask] = []
            while self._queue and len(batch) < BATCH_SIZE and (not batch or self._queue[0].model is batch[0].model):
                batch.append(self._queue.popleft())
            self._busy = bool(batch)
            return batch

    def _drop_expired(self) -> None:
        oldest = time.monotonic() - self._max_wait_seconds
        with self._condition:
            while self._queue and self._queue[0].enqueued_at < oldest:
                self._queue.popleft()
                self._counts["dropped"] += 1

    def _predict(self, tasks: list[ShadowTask]) -> None:
        model, batch = tasks[0].model, Batch.concat([task.row for task in tasks])
        if "torch" in sys.modules:  # this thread's share of cores; a server on ONNX Runtime has no PyTorch to tell
            from pipelines.engines.torch_engine import set_threads

            set_threads(1)
        started_at = time.perf_counter()
        probabilities = (
            self._rollout_router.shadow_predict(model, batch) if tasks[0].is_challenger else model.predictor(batch)
        )
        if probabilities is None:
            self._count("failed", len(tasks))
            return
        spent_ms = (time.perf_counter() - started_at) * 1000 / len(tasks)
        now = self._context.clock()
        for task, answer in zip(tasks, model.predictor.reader.answers(probabilities), strict=True):
            self._unwritten.append(
                ShadowPrediction(
                    prediction_id=task.prediction_id,
                    model_version=model.version,
                    trial_id=task.rollout_id,
                    at=now,
                    label=answer.label,
                    probabilities=[round(share, 6) for share in answer.shares],
                    confidence=answer.confidence,
                    latency_ms=spent_ms,
                )
            )

    def _write(self, *, now: bool = False) -> None:
        rows, waited = self._unwritten, time.monotonic() - self._written_at
        if not rows or not (now or len(rows) >= WRITE_ROWS or waited >= WRITE_SECONDS):
            return
        self._written_at = time.monotonic()
        try:
            with self._context.database.write() as connection:
                shadow_predictions.insert_shadow_predictions(connection, rows)
        except StoreUnavailableError as error:
            log.warning("%d shadow answer(s) are lost: %s", len(rows), error)
            self._count("dropped", len(rows))
        else:
            self._count("recorded", len(rows))
        with self._condition:
            self._unwritten = []
            self._condition.notify_all()

    def _count(self, outcome: str, n: int) -> None:
        with self._condition:
            self._counts[outcome] += n
