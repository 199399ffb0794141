"""Batches requests that wait for the model at the same time.

A worker is a thread that takes what waits, up to a number of rows, and asks the model once. Nobody is waited for
unless `max_wait_ms` says so: while a worker computes, the next batch gathers by itself, so a lone request is never
slowed. A batch holds requests of one model only, so a swap splits it. When a batch fails its requests are asked again
one by one, and only those that fail alone get the error.
"""

import asyncio
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlplatform.errors import ModelUnavailableError
from mlplatform.serve.inference.model_slot import LoadedModel
from pipelines.batch import Batch

POLL_SECONDS = 0.00025
"""How often a worker that lets its batch fill looks for more."""
STOPPING_MESSAGE = "the server is stopping; ask another one"


@dataclass(frozen=True)
class BatchResult:
    """Probabilities (n, classes), how long the batch took, and how many rows it had."""

    probabilities: NDArray[np.float32]
    seconds: float
    batch_size: int


@dataclass(eq=False, slots=True)
class _Job:
    model: LoadedModel
    rows: Batch
    future: "asyncio.Future[BatchResult] | Future[BatchResult]"
    loop: asyncio.AbstractEventLoop | None

    def resolve(self, outcome: BatchResult | Exception) -> None:
        """Give the outcome to whoever waits; one who went away gets nothing."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Batcher:
    """Answers rows on `workers` threads, at most `max_batch` rows at once unless one request alone has more."""

    def __init__(self, workers: int = 1, max_batch: int = 32, max_wait_ms: float = 0.0) -> None:
        self.max_batch, self.max_wait_ms = max_batch, max_wait_ms
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self.resize(workers, max_batch, max_wait_ms)

    @property
    def workers(self) -> int:
        """How many batches may be computed at once."""
        return len(self._threads)

    async def run(self, model: LoadedModel, rows: Batch) -> BatchResult:
        """Await the answer; raises what the model raises for these rows, ModelUnavailableError after close."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._enqueue(_Job(model, rows, future, loop))
        result: BatchResult = await future
        return result

    def run_blocking(self, model: LoadedModel, rows: Batch) -> BatchResult:
        """The same for a thread that may block."""
        future: Future[BatchResult] = Future()
        self._enqueue(_Job(model, rows, future, None))
        return future.result()

    def resize(self, workers: int, max_batch: int, max_wait_ms: float) -> None:
        """Use these numbers from now on; what waits is answered, whichever worker ends."""
        with self._lock:
            if self._closed:
                return
            self.max_batch, self.max_wait_ms = max_batch, max_wait_ms
            while len(self._threads) > workers:
                self._threads.pop()
                self._queue.put(None)  # whichever worker takes it ends
            while len(self._threads) < workers:
                worker = threading.Thread(target=self._run_worker, name=f"lane-{len(self._threads)}", daemon=True)
                self._threads.append(worker)
                worker.start()

    def close(self, timeout: float = 10.0) -> None:
        """Answer what waits, then stop; nothing is taken afterwards."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)  # behind everything that waits
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _enqueue(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise ModelUnavailableError(STOPPING_MESSAGE)
            self._queue.put(job)

    def _run_worker(self) -> None:
        next_job: _Job | None = None  # of another model than the batch before: it begins the next one
        while True:
            job = next_job if next_job is not None else self._queue.get()
            next_job = None
            if job is None:
                return
            batch, next_job, last = self._collect_batch(job)
            _compute_batch(batch)
            if last:
                return

    def _collect_batch(self, first: _Job) -> tuple[list[_Job], _Job | None, bool]:
        """The jobs of one batch, one of another model that was met, and whether this worker shall end."""
        batch, row_count = [first], len(first.rows)
        until = time.monotonic() + self.max_wait_ms / 1000
        while row_count < self.max_batch:
            try:
                job = self._queue.get_nowait()
            except Empty:
                left = until - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(left, POLL_SECONDS))  # not `get(timeout)`: with two workers it may wait for ever (3.11)
                continue
            if job is None:
                return batch, None, True
            if job.model is not first.model or row_count + len(job.rows) > self.max_batch:
                return batch, job, False
            batch.append(job)
            row_count += len(job.rows)
        return batch, None, False


def _compute_batch(batch: list[_Job]) -> None:
    """Ask the model once for the whole batch, and tell everybody; request by request when that fails."""
    batch = [job for job in batch if not job.future.cancelled()]
    if not batch:
        return
    started_at = time.perf_counter()
    try:
        whole = Batch.concat([job.rows for job in batch])
        probabilities = batch[0].model.predictor(whole)
    except Exception as error:  # noqa: BLE001 - a thread's edge: whoever asked gets the error, and the worker goes on
        if len(batch) == 1:
            _resolve_batch([(batch[0], error)])
        else:
            for job in batch:
                _compute_batch([job])
        return
    seconds, row_count, start = time.perf_counter() - started_at, len(whole), 0
    outcomes: list[tuple[_Job, BatchResult | Exception]] = []
    for job in batch:
        end = start + len(job.rows)
        outcomes.append((job, BatchResult(probabilities[start:end], seconds, row_count)))
        start = end
    _resolve_batch(outcomes)


def _resolve_batch(outcomes: list[tuple[_Job, Any]]) -> None:
    """Settle every job where it is awaited: once per event loop and batch, because waking a loop is dear."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any]]] = {}
    for job, outcome in outcomes:
        if job.loop is None:
            job.resolve(outcome)
        else:
            loops.setdefault(job.loop, []).append((job, outcome))
    for loop, resolved in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve_jobs, resolved)
        except RuntimeError:  # the loop was closed, and everybody in it is gone
            continue


def _resolve_jobs(outcomes: Iterable[tuple[_Job, Any]]) -> None:
    for job, outcome in outcomes:
        job.resolve(outcome)
