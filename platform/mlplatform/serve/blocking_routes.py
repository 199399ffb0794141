"""Runs routes that may block, such as those that ask the database, on a limited number of threads.

Where the database hangs, its routes are soon answered 503, and nothing else waits for their threads: no answer, no
probe, no upload.
"""

import asyncio
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi.routing import APIRoute

from mlplatform.errors import BusyError

P = ParamSpec("P")
T = TypeVar("T")
MAX_THREADS: Final = 8
"""More would only wait for each other: Python runs one at a time, and each may keep the event loop waiting."""
MAX_WAIT_SECONDS: Final = 2.0


class ConcurrencyLimiter:
    """At most `threads` calls run at once, each on a thread; more wait for `seconds` and are refused then."""

    def __init__(self, threads: int = MAX_THREADS, max_wait_seconds: float = MAX_WAIT_SECONDS) -> None:
        self._semaphore, self._max_wait_seconds = asyncio.Semaphore(threads), max_wait_seconds
        self._limiter: CapacityLimiter | None = None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `work(*args)` on a thread; raises BusyError where none is free in time."""
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await self._semaphore.acquire()
        except TimeoutError:
            raise BusyError("others like this one wait already; try again in a moment") from None
        running = asyncio.ensure_future(self._on_thread(functools.partial(work, *args, **kwargs)))
        running.add_done_callback(self._release)
        return await asyncio.shield(running)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = CapacityLimiter(math.inf)  # the semaphore counts
        return await to_thread.run_sync(work, limiter=self._limiter)

    def _release(self, running: "asyncio.Future[Any]") -> None:
        self._semaphore.release()  # not when its request was given up: the thread is taken until it ends
        if not running.cancelled():
            running.exception()

    def route_class(self) -> type[APIRoute]:
        """The class of routes whose endpoints run on these threads, unless they are coroutines."""
        run = self.run

        class OnThreads(APIRoute):
            def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
                awaited = endpoint if inspect.iscoroutinefunction(endpoint) else _as_coroutine(endpoint, run)
                super().__init__(path, awaited, **options)

        return OnThreads


def _as_coroutine(endpoint: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint as a coroutine function with the same parameters."""

    @functools.wraps(endpoint)
    async def awaited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return await run(endpoint, *args, **kwargs)

    vars(awaited)["__signature__"] = inspect.signature(endpoint)
    del vars(awaited)["__wrapped__"]  # FastAPI would look through it and find no coroutine
    return awaited
