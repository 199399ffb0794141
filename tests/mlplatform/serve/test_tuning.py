"""The speed of a model is measured as it will serve, pinned once, and tuned when an alert asks."""

import itertools
import os
from collections.abc import Iterator

import pytest
import torch

from mlplatform.build import Parts
from mlplatform.serve.decode import Decoder
from mlplatform.serve.holder import Holder
from mlplatform.serve.tuning import WARM_UP_CALLS, Tuner, host_class, measure
from mlplatform.store import evaluations, tasks
from tests.mlplatform.conftest import START
from tests.mlplatform.serve.conftest import NAME, Flaky, loaded

DECODER = Decoder(28, 28, 20, 4e6)


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


def test_a_host_class_names_machine_and_cores() -> None:
    assert host_class().endswith(f"-{os.cpu_count()}cpu")


def test_speed_is_taken_from_the_calls_after_the_warm_up() -> None:
    starts_and_ends = itertools.chain.from_iterable(
        (number, number + (1.0 if number < WARM_UP_CALLS else 0.001 * (number - WARM_UP_CALLS + 1)))
        for number in range(WARM_UP_CALLS + 100)
    )
    speed = measure(loaded(1), DECODER, calls=100, threads=2, clock=lambda: next(starts_and_ends))
    assert speed.p50_ms == pytest.approx(50.5)
    assert speed.p95_ms == pytest.approx(95.05)
    assert speed.numbers() == {"p50_ms": 50.5, "p95_ms": 95.05, "calls": 100, "threads": 2}


def test_the_first_baseline_of_a_host_class_stays(tuner: Tuner) -> None:
    tuner.pin(loaded(1))
    first = baselines(tuner.parts, 1)
    tuner.pin(loaded(1))
    assert baselines(tuner.parts, 1) == first
    assert list(first) == [host_class()]


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
