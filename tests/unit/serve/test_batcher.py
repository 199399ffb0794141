"""Requests are answered together, each by its own model, and none is lost: not by errors, swaps, changes or the end."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from mlplatform.errors import ModelUnavailableError
from mlplatform.serve.inference.batcher import Batcher, BatchResult
from mlplatform.serve.inference.model_slot import LoadedModel
from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.data import image_batch, images_of
from pipelines.engines.inference_engine import InferenceEngine
from registry.model_contract import ImageInputs
from tests.support.platform_world import START

CLASSES = tuple("0123456789")


class Echo(InferenceEngine):
    """Answers each picture's first pixel plus the version, notes its batches, and can be held up or made to fail."""

    def __init__(self, version: int = 0, refuse: int = -1) -> None:
        super().__init__(ClassReader(CLASSES), ImageInputs(2, 2))
        self.version, self.refuse = version, refuse
        self.batches: list[int] = []
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        self.begun.set()
        assert self.go.wait(10)
        images = images_of(batch)
        self.batches.append(len(images))
        if self.refuse in images[:, 0, 0]:
            raise ValueError("not this one")
        made: NDArray[np.float32] = np.repeat(images[:, :1, 0], len(CLASSES), axis=1).astype(np.float32)
        return made + np.float32(self.version)


def named(echo: Echo) -> LoadedModel:
    return LoadedModel("digits", echo.version, echo, START)


def pictures(*firsts: int) -> Batch:
    made = np.zeros((len(firsts), 2, 2), dtype=np.uint8)
    made[:, 0, 0] = firsts
    return image_batch(made)


def firsts(computed: BatchResult) -> list[float]:
    return [float(value) for value in computed.probabilities[:, 0]]


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(workers=1, max_batch=4)
    yield made
    made.close()


async def gather_behind(batcher: Batcher, echo: Echo, jobs: list[tuple[LoadedModel, Batch]]) -> list[object]:
    """Let a first request hold the only lane until all others wait behind it; the outcomes of the others."""
    echo.go.clear()
    first = asyncio.ensure_future(batcher.run(named(echo), pictures(0)))
    await asyncio.to_thread(echo.begun.wait, 5)
    others = [asyncio.ensure_future(batcher.run(loaded, images)) for loaded, images in jobs]
    await asyncio.sleep(0)
    echo.go.set()
    outcomes: list[object] = list(await asyncio.gather(*others, return_exceptions=True))
    await first
    return outcomes


def test_a_lone_request_is_answered_at_once_and_alone(batcher: Batcher) -> None:
    computed = asyncio.run(batcher.run(named(Echo()), pictures(7, 9)))
    assert (firsts(computed), computed.batch_size) == ([7, 9], 2)


def test_requests_that_wait_are_answered_together_up_to_the_limit(batcher: Batcher) -> None:
    echo = Echo()
    loaded = named(echo)
    outcomes = asyncio.run(gather_behind(batcher, echo, [(loaded, pictures(n)) for n in range(1, 7)]))
    assert echo.batches == [1, 4, 2]
    assert [firsts(each) for each in outcomes if isinstance(each, BatchResult)] == [[n] for n in range(1, 7)]


def test_batches_hold_at_most_the_limit(batcher: Batcher) -> None:
    echo = Echo()
    loaded = named(echo)
    asyncio.run(
        gather_behind(batcher, echo, [(loaded, pictures(1, 2, 3)), (loaded, pictures(4, 5)), (loaded, pictures(6))])
    )
    assert echo.batches == [1, 3, 3]


def test_a_request_over_the_limit_is_answered_whole(batcher: Batcher) -> None:
    echo = Echo()
    computed = asyncio.run(batcher.run(named(echo), pictures(*range(9))))
    assert (firsts(computed), echo.batches) == (list(range(9)), [9])


def test_a_batch_has_one_version_and_each_answer_is_of_the_version_its_request_took(batcher: Batcher) -> None:
    old, new = Echo(0), Echo(100)
    a, b = named(old), named(new)
    outcomes = asyncio.run(
        gather_behind(batcher, old, [(a, pictures(1)), (b, pictures(2)), (a, pictures(3)), (b, pictures(4))])
    )
    assert [firsts(each) for each in outcomes if isinstance(each, BatchResult)] == [[1], [102], [3], [104]]
    assert (sum(old.batches), sum(new.batches)) == (3, 2)


def test_one_request_that_fails_fails_alone(batcher: Batcher) -> None:
    echo = Echo(refuse=2)
    loaded = named(echo)
    outcomes = asyncio.run(gather_behind(batcher, echo, [(loaded, pictures(n)) for n in (1, 2, 3)]))
    assert isinstance(outcomes[1], ValueError)
    assert [firsts(each) for each in outcomes if isinstance(each, BatchResult)] == [[1], [3]]


def test_a_client_that_went_away_is_not_computed_for_and_disturbs_nobody(batcher: Batcher) -> None:
    echo = Echo()
    loaded = named(echo)

    async def one_leaves() -> BatchResult:
        echo.go.clear()
        first = asyncio.ensure_future(batcher.run(loaded, pictures(0)))
        await asyncio.to_thread(echo.begun.wait, 5)
        leaving = asyncio.ensure_future(batcher.run(loaded, pictures(1)))
        staying = asyncio.ensure_future(batcher.run(loaded, pictures(2)))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        first.cancel()  # while its batch is being computed
        echo.go.set()
        return await staying

    assert firsts(asyncio.run(one_leaves())) == [2]
    assert echo.batches == [1, 1]


def test_a_loop_that_was_closed_takes_no_lane_with_it(batcher: Batcher) -> None:
    echo = Echo()
    echo.go.clear()

    async def ask_and_leave() -> None:
        asking = asyncio.ensure_future(batcher.run(named(echo), pictures(1)))
        await asyncio.to_thread(echo.begun.wait, 5)
        asking.cancel()

    asyncio.run(ask_and_leave())
    echo.go.set()
    assert firsts(batcher.run_blocking(named(Echo()), pictures(5))) == [5]


def test_threads_are_answered_too_and_get_their_errors(batcher: Batcher) -> None:
    assert firsts(batcher.run_blocking(named(Echo()), pictures(3))) == [3]
    with pytest.raises(ValueError, match="not this one"):
        batcher.run_blocking(named(Echo(refuse=3)), pictures(3))


def test_a_wait_lets_a_batch_fill_and_ends(batcher: Batcher) -> None:
    echo = Echo()
    loaded = named(echo)
    batcher.resize(1, 4, 300.0)

    async def close_together() -> tuple[list[BatchResult], float]:
        begun = time.perf_counter()
        made = await asyncio.gather(*(batcher.run(loaded, pictures(n)) for n in range(4)))
        return made, time.perf_counter() - begun

    asyncio.run(close_together())
    assert echo.batches == [4]
    assert firsts(batcher.run_blocking(loaded, pictures(8))) == [8]


def test_the_last_of_many_requests_is_answered_too_when_two_lanes_let_batches_fill(batcher: Batcher) -> None:
    """Python 3.11's SimpleQueue may wait for ever with a timeout, where another lane takes what woke it."""
    loaded = named(Echo())
    batcher.resize(2, 128, 0.5)
    with ThreadPoolExecutor(16) as callers:
        for _ in range(1500):
            asked = [callers.submit(batcher.run_blocking, loaded, pictures(number)) for number in range(24)]
            assert [firsts(each.result(20)) for each in asked] == [[number] for number in range(24)]


def test_what_waits_at_the_end_is_answered_and_nothing_is_taken_afterwards() -> None:
    batcher, echo = Batcher(workers=2, max_batch=2), Echo()
    loaded = named(echo)
    echo.go.clear()
    with ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(batcher.run_blocking, loaded, pictures(n)) for n in range(8)]
        echo.begun.wait(5)
        while batcher._queue.qsize() + 4 < 8:
            time.sleep(0.001)
        closing = threading.Thread(target=batcher.close)
        closing.start()
        echo.go.set()
        assert [firsts(each.result(10)) for each in asked] == [[n] for n in range(8)]
        closing.join()
    with pytest.raises(ModelUnavailableError, match="stopping"):
        batcher.run_blocking(loaded, pictures(1))
    batcher.resize(3, 2, 0.0)
    assert batcher.workers == 0


def test_no_request_is_lost_while_lanes_come_and_go(batcher: Batcher) -> None:
    echoes = [Echo(version) for version in (0, 100)]
    models = [named(echo) for echo in echoes]
    stop = threading.Event()

    def change() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            batcher.resize(1 + turn % 3, 1 + turn % 5, 0.2 * (turn % 2))
            stop.wait(0.001)

    changing = threading.Thread(target=change)
    changing.start()
    with ThreadPoolExecutor(8) as callers:
        made = list(callers.map(lambda n: batcher.run_blocking(models[n % 2], pictures(n % 100)), range(600)))
    stop.set()
    changing.join()
    assert [firsts(each) for each in made] == [[n % 100 + 100 * (n % 2)] for n in range(600)]
