"""Answers are computed off the event loop, with the asked number of threads, through any change of it."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mlplatform.serve.pool import Pool


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(workers=2, threads=1)
    yield made
    made.close()


def test_work_runs_on_a_thread_of_the_pool_with_its_number_of_threads(pool: Pool) -> None:
    def work(offset: int, *, more: int) -> tuple[str, int, int]:
        return threading.current_thread().name, torch.get_num_threads(), offset + more

    name, threads, total = asyncio.run(pool.run(work, 1, more=2))
    assert (name.startswith("answer"), threads, total) == (True, 1, 3)
    pool.resize(2)
    assert asyncio.run(pool.run(work, 1, more=2))[1] == 2
    pool.resize(1)
    assert asyncio.run(pool.run(work, 1, more=2))[1] == 1


def test_what_work_raises_is_raised_where_it_is_awaited(pool: Pool) -> None:
    def work() -> None:
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing"):
        asyncio.run(pool.run(work))


def test_no_work_is_refused_while_the_pool_changes_its_size(pool: Pool) -> None:
    stop = threading.Event()

    def resize() -> None:
        while not stop.is_set():
            pool.resize(1)

    async def work() -> int:
        total = 0
        for _ in range(30):
            total += sum(await asyncio.gather(*(pool.run(int, "1") for _ in range(20))))
        return total

    resizing, interval = threading.Thread(target=resize), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet at the worst of moments
    resizing.start()
    try:
        assert asyncio.run(work()) == 600
    finally:
        stop.set()
        resizing.join()
        sys.setswitchinterval(interval)


def test_close_waits_for_work_begun_before_a_change_of_size() -> None:
    pool = Pool(workers=1, threads=1)
    begun, done = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.2)
        done.set()

    async def change_and_close() -> None:
        running = asyncio.ensure_future(pool.run(slow))
        await asyncio.to_thread(begun.wait)
        pool.resize(1)
        await asyncio.to_thread(pool.close)
        assert done.is_set()
        await running

    asyncio.run(change_and_close())
