"""The losses of a run are read once for all pages that ask, and a failure is remembered."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlplatform.web.loss_curves import FAILED_SECONDS, MAX_AGE_SECONDS, MAX_RUNS, Histories, LossCurves
from registry.errors import RegistryError, RegistryUnavailableError
from tests.support.waiting import eventually


class Runs:
    """Runs that are read when they are let go, and count; the clock moves when told."""

    def __init__(self) -> None:
        self.reads, self.go, self.now = list[str](), threading.Event(), 0.0
        self.go.set()
        self.is_away = False

    def read(self, run_id: str) -> Histories:
        self.reads.append(run_id)
        if not self.go.wait(30):
            raise TimeoutError
        if self.is_away:
            raise RegistryUnavailableError("MLflow did not answer")
        return {"loss": [(1, float(len(self.reads)))]}


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def curves(runs: Runs) -> LossCurves:
    return LossCurves(runs.read, lambda: runs.now)


def test_a_curve_is_read_anew_when_it_is_old(curves: LossCurves, runs: Runs) -> None:
    assert curves.of("a") == curves.of("a") == {"loss": [(1, 1.0)]}
    runs.now = MAX_AGE_SECONDS
    assert curves.of("a") == {"loss": [(1, 2.0)]}
    assert curves.of("b") == {"loss": [(1, 3.0)]}


def test_a_failure_is_remembered_longer(curves: LossCurves, runs: Runs) -> None:
    runs.is_away = True
    for _ in range(3):
        with pytest.raises(RegistryUnavailableError):
            curves.of("a")
    assert runs.reads == ["a"]
    runs.now, runs.is_away = FAILED_SECONDS, False
    assert curves.of("a") == {"loss": [(1, 2.0)]}


def test_many_who_ask_at_once_make_one_reading_and_a_silent_mlflow_holds_one_of_them(
    curves: LossCurves, runs: Runs
) -> None:
    runs.go.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(curves.of, "a")
        eventually(lambda: runs.reads == ["a"])
        others = [pool.submit(curves.of, "a") for _ in range(7)]
        assert all(isinstance(other.exception(), RegistryError) for other in others), "they do not wait for it"
        runs.go.set()
        assert first.result() == {"loss": [(1, 1.0)]}
    assert runs.reads == ["a"]


def test_while_it_is_read_anew_the_old_one_is_shown(curves: LossCurves, runs: Runs) -> None:
    old, runs.now = curves.of("a"), MAX_AGE_SECONDS
    runs.go.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(curves.of, "a")
        eventually(lambda: len(runs.reads) == 2)
        assert curves.of("a") == old
        runs.go.set()
        assert first.result() == {"loss": [(1, 2.0)]}


def test_few_runs_are_kept(curves: LossCurves, runs: Runs) -> None:
    for number in range(MAX_RUNS + 1):
        curves.of(str(number))
    curves.of("0")
    assert runs.reads.count("0") == 2
    curves.of(str(MAX_RUNS))
    assert runs.reads.count(str(MAX_RUNS)) == 1
