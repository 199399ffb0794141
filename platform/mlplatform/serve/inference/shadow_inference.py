"""Answers given beside those that are served: by a thread of its own, in what time is left; nobody waits for it.

While a trial runs, each picture is also shown to the version that did not answer it. A bounded queue holds what waits;
what does not fit, or waits too long, is dropped and counted. The thread yields: it begins nothing while a request is
under way, takes few pictures at once, has a lower priority where the system knows that for threads, one intra-op
thread, and rests longer than it worked. On a host that is always busy it drops nearly everything. Answers are written
in batches, and lost, counted, while the store is away: they are evidence about a challenger, not a record of service.
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

import numpy as np
from numpy.typing import NDArray

from mlplatform.context import Parts
from mlplatform.errors import StoreUnavailableError
from mlplatform.predictions import shadow_predictions
from mlplatform.predictions.shadow_predictions import ShadowAnswer
from mlplatform.promotion.rollouts import CHAMPION
from mlplatform.serve.inference.model_slot import Loaded
from mlplatform.serve.inference.rollout_router import Challenger
from mlplatform.store.timeouts import reserved

log = logging.getLogger(__name__)
MOST_WAITING: Final = 512
AT_ONCE: Final = 4
REST: Final = 3.0
"""So many times as long as it worked the thread rests."""
MOST_SECONDS: Final = 5.0
"""A picture that found no quiet moment for so long is dropped."""
GLANCE_SECONDS: Final = 0.01
WRITE_ROWS: Final = 200
WRITE_SECONDS: Final = 1.0
NICE: Final = 10


@dataclass(frozen=True)
class Shown:
    """One picture to be shown to another version than the one that answered it."""

    trial_id: str
    prediction_id: str
    other: Loaded
    challenges: bool
    image: NDArray[np.uint8]
    since: float


class Shadow:
    """The queue and the thread; start it once, close it at the end."""

    def __init__(self, parts: Parts, challenger: Challenger, busy: Callable[[], bool] = lambda: False) -> None:
        self._parts, self._challenger, self._is_busy = parts, challenger, busy
        self._most, self._patience = MOST_WAITING, MOST_SECONDS
        self._waiting: deque[Shown] = deque()
        self._unwritten: list[ShadowAnswer] = []
        self._written_at = time.monotonic()
        self._counts = {"recorded": 0, "dropped": 0, "failed": 0}
        self._changed = threading.Condition()
        self._closing = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin working."""
        self._thread.start()

    def offer(self, champion: Loaded, role: str, ids: Sequence[str], images: NDArray[np.uint8]) -> None:
        """Note pictures that were just answered; returns at once, whatever becomes of them."""
        tried = self._challenger.beside(champion)
        if tried is None:
            return
        other, challenges = (tried.loaded, True) if role == CHAMPION else (champion, False)
        now = time.monotonic()
        with self._changed:
            room = 0 if self._closing else max(0, self._most - len(self._waiting))
            for key, image in list(zip(ids, images, strict=True))[:room]:
                self._waiting.append(Shown(tried.trial.id, key, other, challenges, image, now))
            self._counts["dropped"] += max(0, len(ids) - room)
            self._changed.notify_all()

    def counts(self) -> Mapping[str, int]:
        """How many answers were recorded, wait, were dropped (no room, or no store) and failed."""
        with self._changed:
            return {**self._counts, "queued": len(self._waiting)}

    def settle(self, seconds: float) -> bool:
        """Wait until nothing waits and everything is written; False when the time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy or self._unwritten), seconds)

    def close(self) -> None:
        """Write what is answered and stop; what waits still is dropped."""
        with self._changed:
            self._closing = True
            self._counts["dropped"] += len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    @reserved()
    def _run(self) -> None:
        if sys.platform == "linux":
            with suppress(OSError):  # a thread's own priority, which a sandbox may refuse
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while not self._closing:
            batch = self._next_batch()
            begun = time.monotonic()
            try:
                if batch:
                    self._answer(batch)
                self._write()
            except Exception:  # a thread's edge: the next pictures must still be looked at
                log.exception("the shadow goes on")
                self._count("failed", len(batch))
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if batch and not self._closing:
                    self._changed.wait_for(lambda: self._closing, REST * (time.monotonic() - begun))
        self._write(now=True)

    def _next_batch(self) -> list[Shown]:
        """Some pictures for one version in a quiet moment, or none after a while."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing, WRITE_SECONDS / 4)
        deadline = time.monotonic() + WRITE_SECONDS / 4
        while self._is_busy() and not self._closing:
            if time.monotonic() > deadline:
                self._drop_old()
                return []
            time.sleep(GLANCE_SECONDS)
        with self._changed:
            batch: list[Shown] = []
            while self._waiting and len(batch) < AT_ONCE and (not batch or self._waiting[0].other is batch[0].other):
                batch.append(self._waiting.popleft())
            self._busy = bool(batch)
            return batch

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._patience
        with self._changed:
            while self._waiting and self._waiting[0].since < oldest:
                self._waiting.popleft()
                self._counts["dropped"] += 1

    def _answer(self, batch: list[Shown]) -> None:
        other, images = batch[0].other, np.stack([each.image for each in batch])
        if "torch" in sys.modules:  # this thread's share of cores; a server on ONNX Runtime has no PyTorch to tell
            from pipelines.engines.torch_engine import set_threads

            set_threads(1)
        begun = time.perf_counter()
        found = self._challenger.probe(other, images) if batch[0].challenges else other.predictor(images)
        if found is None:
            self._count("failed", len(batch))
            return
        spent_ms = (time.perf_counter() - begun) * 1000 / len(batch)
        now = self._parts.clock()
        for each, row in zip(batch, found, strict=True):
            best = int(np.argmax(row))
            self._unwritten.append(
                ShadowAnswer(
                    prediction_id=each.prediction_id,
                    model_version=other.version,
                    trial_id=each.trial_id,
                    at=now,
                    label=other.predictor.classes[best],
                    probabilities=[round(float(share), 6) for share in row],
                    confidence=min(1.0, float(row[best])),
                    latency_ms=spent_ms,
                )
            )

    def _write(self, *, now: bool = False) -> None:
        rows, waited = self._unwritten, time.monotonic() - self._written_at
        if not rows or not (now or len(rows) >= WRITE_ROWS or waited >= WRITE_SECONDS):
            return
        self._written_at = time.monotonic()
        try:
            with self._parts.database.write() as connection:
                shadow_predictions.write(connection, rows)
        except StoreUnavailableError as error:
            log.warning("%d shadow answer(s) are lost: %s", len(rows), error)
            self._count("dropped", len(rows))
        else:
            self._count("recorded", len(rows))
        with self._changed:
            self._unwritten = []
            self._changed.notify_all()

    def _count(self, what: str, n: int) -> None:
        with self._changed:
            self._counts[what] += n
