"""The guarantee of the duel, by simulation; and that its state survives anything."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitors.errors import WindowError
from monitors.statistics.paired_test import STAKES, PairedOutcome, PairedTest, describe_test, update_test

LEVEL = 0.05
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
"""So many labels' share times outcome."""


def bout(outcome: int, share: float = 1.0) -> PairedOutcome:
    before, new = {1: ("3", "5"), 0: ("3", "3"), -1: ("5", "3")}[outcome]
    return PairedOutcome(before, new, "3", share)


def plain(lost: float, won: float) -> Draw:
    """Every answer drawn alike; these shares of them only one version reads rightly."""

    def draw(generator: np.random.Generator, runs: int) -> Floats:
        number = generator.random(runs)
        return np.where(number < lost, 1.0, np.where(number < lost + won, -1.0, 0.0))

    return draw


def by_plan(lost_doubtful: float, won_sure: float) -> Draw:
    """A tenth of the answers is doubtful and drawn at 1/2 instead of 1/20: a label of them weighs a tenth.

    The new version loses among the doubtful and wins among the sure ones.
    """

    def draw(generator: np.random.Generator, runs: int) -> Floats:
        doubtful = generator.random(runs) < 0.05 / (0.05 + 0.045)
        number = generator.random(runs)
        lost, won = 0.1 * (doubtful & (number < lost_doubtful)), ~doubtful & (number < won_sure)
        return lost.astype(np.float64) - won

    return draw


def proved_after(draw: Draw, runs: int, labels: int, level: float = LEVEL, seed: int = 1) -> Floats:
    """After how many labels each of many duels proves the new version worse; infinity where none does."""
    generator = np.random.default_rng(seed)
    stakes, wealth = np.array(STAKES), np.ones((runs, len(STAKES)))
    found = np.full(runs, np.inf)
    for place in range(1, labels + 1):
        wealth = np.minimum(1e9, wealth * (1 + np.outer(draw(generator, runs), stakes)))
        found[(wealth.mean(axis=1) >= 1 / level) & np.isinf(found)] = place
    return found


def test_the_simulation_moves_as_the_duel_does() -> None:
    outcomes = [1, 0, -1, 1, 1, 0, 1] * 20
    places = iter(outcomes)
    [found] = proved_after(lambda *_: np.array([float(next(places))]), 1, len(outcomes))
    duel = update_test(PairedTest(), map(bout, outcomes), LEVEL)
    assert duel.rejects(LEVEL)
    assert duel.n == found


@pytest.mark.parametrize(
    "draw",
    [plain(0.02, 0.02), plain(0.3, 0.3), by_plan(0.09, 0.01), by_plan(0.9, 0.1)],
    ids=["few differ", "many differ", "weighted, few differ", "weighted, many differ"],
)
def test_a_version_as_good_is_sent_back_no_more_often_than_the_level_says(draw: Draw) -> None:
    """In the weighted cases it loses nine times as often among the labels, and as often among all answers."""
    runs = 3000
    share = float(np.isfinite(proved_after(draw, runs, 1500)).mean())
    assert share <= LEVEL + 2 * (LEVEL * (1 - LEVEL) / runs) ** 0.5


def test_without_weights_the_same_labels_would_blame_a_version_that_is_as_good() -> None:
    def unweighted(generator: np.random.Generator, runs: int) -> Floats:
        return np.sign(by_plan(0.9, 0.1)(generator, runs))

    assert np.isfinite(proved_after(unweighted, 200, 300)).all()


@pytest.mark.parametrize(
    ("lost", "won", "median", "nine_of_ten"),
    [(0.5, 0.01, 30, 45), (0.06, 0.01, 400, 650), (0.03, 0.01, 1300, 2400)],
    ids=["broken", "5 points worse", "2 points worse"],
)
def test_a_worse_version_is_found_within_so_many_labels(lost: float, won: float, median: int, nine_of_ten: int) -> None:
    found = proved_after(plain(lost, won), 400, 4000, level=0.008)
    assert np.median(found) <= median
    assert np.quantile(found, 0.9) <= nine_of_ten


def test_a_world_that_changes_for_both_blames_nobody() -> None:
    """Halfway both versions begin to fail on two of three pictures, mostly on the same ones."""
    calls = 0

    def draw(generator: np.random.Generator, runs: int) -> Floats:
        nonlocal calls
        calls += 1
        share = 0.01 if calls <= 300 else 0.25
        return plain(share, share)(generator, runs)

    assert float(np.isfinite(proved_after(draw, 2000, 900)).mean()) <= LEVEL


def test_counts_are_kept_and_pictures_both_read_alike_move_no_purse() -> None:
    same = [bout(0), PairedOutcome("5", "8", "3")]
    duel = update_test(PairedTest(), [*same, bout(1), bout(-1), bout(1)], LEVEL)
    assert (duel.n, duel.lost, duel.won) == (5, 2, 1)
    assert update_test(PairedTest(), same, LEVEL).wealth == PairedTest().wealth
    assert describe_test(duel, 7, 6) == (
        "Of 5 labelled answers, 2 that version 7 read wrong are read right by version 6, and 1 the other way round."
    )


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=80), st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_one_call_many_calls_and_a_restart_give_the_same_duel(outcomes: list[int], cut: int) -> None:
    seen: Sequence[PairedOutcome] = [bout(each, 0.5) for each in outcomes]
    half = PairedTest.from_json(json.loads(json.dumps(update_test(PairedTest(), seen[:cut], LEVEL).to_json())))
    assert update_test(half, seen[cut:], LEVEL) == update_test(PairedTest(), seen, LEVEL)


def test_a_proof_stays_one_and_later_labels_change_nothing() -> None:
    proved = update_test(PairedTest(), [bout(1)] * 100, LEVEL)
    assert proved.rejects(LEVEL)
    assert proved.n < 20
    assert update_test(proved, [bout(-1)] * 500, LEVEL) == proved


@pytest.mark.parametrize("share", [0.0, 1.01, -1.0])
def test_a_weight_that_does_not_fit_is_refused_by_name(share: float) -> None:
    with pytest.raises(WindowError, match=str(share)):
        update_test(PairedTest(), [bout(1, share)], LEVEL)


@pytest.mark.parametrize(
    "raw", [{}, PairedTest().to_json() | {"wealth": [1.0]}, PairedTest().to_json() | {"n": "many"}]
)
def test_a_state_that_does_not_fit_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(WindowError, match="begin a new duel"):
        PairedTest.from_json(raw)
