"""The speed of a model is measured as it will serve, pinned once, and tuned when an alert asks."""

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mlplatform.build import Parts
from mlplatform.serve.decode import Decoder
from mlplatform.serve.holder import Holder, Loaded
from mlplatform.serve.server import assemble
from mlplatform.serve.tuning import WARM_UP_CALLS, Tuner, host_class, measure
from mlplatform.store import evaluations, tasks
from pipelines.predict import Predictor, exportable
from tests.mlplatform.conftest import START
from tests.mlplatform.serve.conftest import CLASSES, NAME, Flaky, loaded

DECODER = Decoder(28, 28, 20, 4e6)


class Watched(nn.Module):
    """Notes with how many threads it is called, and is slow with one."""

    def __init__(self, slow_with: int = 0) -> None:
        super().__init__()
        self.threads: list[int] = []
        self.slow_with = slow_with

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.threads.append(torch.get_num_threads())
        if torch.get_num_threads() == self.slow_with:
            time.sleep(0.03)
        return torch.zeros(len(images), 10)


def watched(network: Watched, version: int = 7) -> Loaded:
    return Loaded(NAME, version, Predictor(exportable(network), CLASSES, 28, 28), START)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.fixture
def tuner(lite: Parts) -> Tuner:
    return Tuner(lite, Holder(), DECODER, threads=1)


def baselines(parts: Parts, version: int) -> dict[str, dict[str, float]]:
    with parts.database.read() as connection:
        return evaluations.baselines_of(connection, NAME, version).get("latency", {})


def test_a_host_class_names_machine_cores_and_threads() -> None:
    assert host_class(3).endswith("cpu-3thread")
    assert host_class(1) != host_class(2)


def test_speed_is_taken_from_the_calls_after_the_warm_up() -> None:
    starts_and_ends = itertools.chain.from_iterable(
        (number, number + (1.0 if number < WARM_UP_CALLS else 0.001 * (number - WARM_UP_CALLS + 1)))
        for number in range(WARM_UP_CALLS + 100)
    )
    speed = measure(loaded(1), DECODER, calls=100, threads=2, clock=lambda: next(starts_and_ends))
    assert speed.p50_ms == pytest.approx(50.5)
    assert speed.p95_ms == pytest.approx(95.05)
    assert speed.numbers() == {"p50_ms": 50.5, "p95_ms": 95.05, "calls": 100, "threads": 2}


def test_a_baseline_is_measured_with_the_threads_that_it_is_pinned_under(tuner: Tuner) -> None:
    network = Watched()

    def other_thread() -> None:
        torch.set_num_threads(2)  # where a thread may find itself before anybody set anything
        tuner.pin(watched(network))

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert set(network.threads) == {1}
    assert list(baselines(tuner.parts, 7)) == [host_class(1)]


def test_the_first_baseline_of_a_host_class_stays(tuner: Tuner) -> None:
    tuner.pin(loaded(1))
    first = baselines(tuner.parts, 1)
    tuner.pin(loaded(1))
    assert baselines(tuner.parts, 1) == first
    tuner.threads = 2
    tuner.pin(loaded(1))
    assert set(baselines(tuner.parts, 1)) == {host_class(1), host_class(2)}


def test_tuning_keeps_the_number_of_threads_with_the_best_p95(tuner: Tuner) -> None:
    result = tuner.tune(watched(Watched(slow_with=1)), choices=(1, 2))
    assert (result["threads_before"], result["threads_after"], tuner.threads) == (1, 2, 2)
    assert torch.get_num_threads() == 2
    measured = result["measured"]
    assert isinstance(measured, list)
    assert [item["threads"] for item in measured] == [1, 2]
    assert measured[0]["p95_ms"] > 30
    assert measured[0]["p95_ms"] > measured[1]["p95_ms"]
    assert result["instance"] == tuner.parts.instance


def test_an_open_tuning_task_is_carried_out_once_and_closed_with_its_result(tuner: Tuner) -> None:
    with tuner.parts.database.write() as connection:
        mine = tasks.open_task(connection, "tune-serving", NAME, {}, START)
        tasks.open_task(connection, "label-audit", NAME, {}, START)
        tasks.open_task(connection, "tune-serving", "letters", {}, START)
    assert tuner.work() == 0
    tuner.holder.put(loaded(1))
    assert [tuner.work(), tuner.work()] == [1, 0]
    with tuner.parts.database.read() as connection:
        assert [task.kind for task in tasks.open_tasks(connection, NAME)] == ["label-audit"]
        assert tasks.open_tasks(connection, "letters")
        assert mine not in [task.id for task in tasks.open_tasks(connection, NAME)]


def test_a_task_survives_a_database_that_goes_away(tuner: Tuner, flaky: Flaky) -> None:
    with tuner.parts.database.write() as connection:
        tasks.open_task(connection, "tune-serving", NAME, {}, START)
    tuner.holder.put(loaded(1))
    flaky.away = True
    with pytest.raises(ConnectionError):
        tuner.work()
    flaky.away = False
    assert tuner.work() == 1


def test_a_server_answers_with_the_threads_that_tuning_found(lite: Parts) -> None:
    unusual = (os.cpu_count() or 1) + 1
    quick = Parts(lite.settings.model_copy(update={"poll_seconds": 0.01, "serve_threads": unusual}))
    quick.__dict__.update(database=lite.database, catalog=lite.catalog)
    with lite.database.write() as connection:
        tasks.open_task(connection, "tune-serving", NAME, {}, START)
    server = assemble(quick)
    server.holder.put(loaded(1))
    assert asyncio.run(server.pool.run(torch.get_num_threads)) == unusual
    server.start()
    deadline = time.monotonic() + 20
    while asyncio.run(server.pool.run(torch.get_num_threads)) == unusual:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert asyncio.run(server.pool.run(torch.get_num_threads)) == server.tuner.threads < unusual
    server.close()
