"""Blocking work is done off the event loop, and closing waits for it."""

import asyncio
import threading
import time

import pytest

from mlplatform.serve.thread_pool import ThreadPool


def test_work_runs_on_a_thread_of_the_pool() -> None:
    def work(offset: int, *, more: int) -> tuple[str, int]:
        return threading.current_thread().name, offset + more

    pool = ThreadPool(threads=2)
    name, total = asyncio.run(pool.run(work, 1, more=2))
    pool.close()
    assert (name.startswith("answer"), total) == (True, 3)


def test_what_work_raises_is_raised_where_it_is_awaited() -> None:
    def work() -> None:
        raise KeyError("missing")

    pool = ThreadPool(threads=1)
    with pytest.raises(KeyError, match="missing"):
        asyncio.run(pool.run(work))
    pool.close()


def test_close_waits_for_work_begun() -> None:
    pool = ThreadPool(threads=1)
    begun, done = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.2)
        done.set()

    async def work_and_close() -> None:
        running = asyncio.ensure_future(pool.run(slow))
        await asyncio.to_thread(begun.wait)
        await asyncio.to_thread(pool.close)
        assert done.is_set()
        await running

    asyncio.run(work_and_close())
