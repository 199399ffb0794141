"""Runs what would block the event loop, such as decoding large images, on threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPool:
    """Runs blocking work off the event loop."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="answer")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `work(*args)` on one of the threads."""
        return await asyncio.wrap_future(self._executor.submit(work, *args, **kwargs))

    def submit(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Have `work(*args)` done some time; nobody waits for it."""
        self._executor.submit(work, *args, **kwargs)

    def close(self) -> None:
        """Let running work finish and stop."""
        self._executor.shutdown(wait=True)
