"""The threads that compute answers, each with a fixed number of intra-op threads; it knows no model."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pipelines.predict import set_threads

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """Runs blocking work off the event loop; `resize` takes effect for new work, old work finishes."""

    def __init__(self, workers: int, threads: int) -> None:
        self._workers = workers
        self._changing = threading.Lock()
        self._retired: list[ThreadPoolExecutor] = []
        self._executor = self._make(threads)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `work(*args)` on one of the threads."""
        with self._changing:  # an executor that was replaced takes no work
            running = self._executor.submit(work, *args, **kwargs)
        return await asyncio.wrap_future(running)

    def resize(self, threads: int) -> None:
        """Use this many intra-op threads per answer from now on."""
        with self._changing:
            old, self._executor = self._executor, self._make(threads)
            self._retired.append(old)
        old.shutdown(wait=False)

    def close(self) -> None:
        """Let running work finish and stop."""
        for executor in (*self._retired, self._executor):
            executor.shutdown(wait=True)

    def _make(self, threads: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            self._workers, thread_name_prefix="answer", initializer=set_threads, initargs=(threads,)
        )
