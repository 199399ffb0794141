"""The threads that compute answers, each with a fixed number of intra-op threads; it knows no model."""

import asyncio
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
        self._executor = self._make(threads)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `work(*args)` on one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))

    def resize(self, threads: int) -> None:
        """Use this many intra-op threads per answer from now on."""
        old, self._executor = self._executor, self._make(threads)
        old.shutdown(wait=False)

    def close(self) -> None:
        """Let running work finish and stop."""
        self._executor.shutdown(wait=True)

    def _make(self, threads: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            self._workers, thread_name_prefix="answer", initializer=set_threads, initargs=(threads,)
        )
