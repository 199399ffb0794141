"""The guarantee of the sequential detector, by simulation; and that its state survives anything."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from monitors.errors import WindowError
from monitors.statistics.e_detector import (
    EARNED_LIMIT,
    STAKES,
    Detector,
    Observation,
    change_point,
    e_bh,
    labels_until_alarm,
    restart_detector,
    start_detector,
    update_detector,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = timedelta(days=90)
BUDGET = 1 / PERIOD.total_seconds()


def labels(wrong: ArrayLike, weights: ArrayLike = 1.0, per_day: float = 50.0) -> list[Observation]:
    shares = np.asarray(wrong, dtype=np.float64)
    heavy = np.broadcast_to(np.asarray(weights, dtype=np.float64), shares.shape)
    return [
        Observation(START + timedelta(days=(place + 1) / per_day), float(each), float(weight))
        for place, (each, weight) in enumerate(zip(shares, heavy, strict=True))
    ]


def alarms(detector: Detector, seen: Sequence[Observation]) -> int:
    """How often it alarms when it begins anew after each alarm."""
    count, first = 0, 0
    while first < len(seen):
        after = update_detector(detector, seen[first:], BUDGET)
        if after.alarmed_at is None:
            break
        count, first, detector = count + 1, first + after.n, restart_detector(after, after.alarmed_at)
    return count


def test_a_stream_at_the_allowed_share_alarms_less_often_than_the_budget_allows() -> None:
    generator = np.random.default_rng(1)
    periods, per_day = 60, 20.0
    counts = [
        alarms(start_detector(0.05, START), labels(generator.random(1800) < 0.05, per_day=per_day))
        for _ in range(periods)
    ]
    assert sum(counts) <= periods, "the expected number is at most one per period"


def test_files_of_right_labels_a_quarter_apart_never_alarm() -> None:
    """400 right labels in two files: the clock earns an alarm between them, and no label says anything is wrong."""
    files = [Observation(START + timedelta(days=91 * (1 + place // 200)), 0.0) for place in range(2000)]
    for per_file in (200, 1):
        seen = [each for place, each in enumerate(files) if place % 200 < per_file]
        found = update_detector(start_detector(0.0195, START), seen, BUDGET, min_samples=min(per_file, 10))
        assert found.alarmed_at is None
        assert found.evidence < EARNED_LIMIT


def test_a_clock_a_year_ahead_is_no_evidence() -> None:
    found = update_detector(start_detector(0.0195, START), [Observation(START + timedelta(days=365), 0.0)], BUDGET)
    assert found.alarmed_at is None


def test_detectors_that_share_a_budget_hold_no_alarm_together_without_evidence() -> None:
    """Ten classes alarm together at a tenth of an alarm each: what time adds to all of them stays below that."""
    later = [Observation(START + timedelta(days=365), 0.0)]
    classes = {
        name: update_detector(start_detector(0.1, START), later, BUDGET, budget_share=0.1).evidence
        for name in "0123456789"
    }
    assert e_bh(classes) == frozenset()
    assert sum(classes.values()) <= EARNED_LIMIT


@pytest.mark.parametrize("per_day", [5.0, 20.0])
def test_with_a_limit_on_what_time_adds_a_stream_at_the_allowed_share_stays_within_the_budget(per_day: float) -> None:
    """0.6 to 0.9 in 90 days are left of the one allowed."""
    generator, days = np.random.default_rng(7), 90
    counts = [
        alarms(start_detector(0.0195, START), labels(generator.random(int(days * per_day)) < 0.0195, per_day=per_day))
        for _ in range(40)
    ]
    assert 0.3 <= sum(counts) / 40 <= 1


def test_the_limit_on_what_time_adds_delays_an_alarm_little() -> None:
    """After 60 healthy days at 20 labels a day, to 5 %: a mean of 155 labels without the limit, 159 with it."""
    generator, delays = np.random.default_rng(9), []
    for _ in range(80):
        wrong = np.concatenate([generator.random(1200) < 0.01, generator.random(3000) < 0.05])
        found = update_detector(start_detector(0.0195, START), labels(wrong, per_day=20.0), BUDGET)
        assert found.alarmed_at is not None
        delays.append(found.n - 1200)
    assert np.mean([delay for delay in delays if delay > 0]) <= 1.1 * 155


def test_no_bet_is_larger_than_what_is_missing() -> None:
    """A bet that could win more than an alarm takes would risk money for nothing."""
    generator = np.random.default_rng(4)
    for share in (0.03, 0.2, 1.0):
        found = update_detector(start_detector(0.01, START), labels(generator.random(3000) < share), BUDGET)
        assert found.alarmed_at is not None
        assert found.evidence == pytest.approx(1.0, abs=1e-6)


def test_gains_of_different_weight_fill_the_purse_in_the_end() -> None:
    """Bets are held against the lightest gain so far, so one lighter than the others fills it too."""
    light = labels([1.0] * 40, [0.1, 1.0] * 20)
    found = update_detector(start_detector(0.02, START), light, BUDGET)
    assert found.alarmed_at is not None
    assert found.n < 20
    partly = update_detector(start_detector(0.02, START), labels([0.06] * 400), BUDGET)
    assert partly.alarmed_at is not None, "labels that are wrong in part gain little each"


@pytest.mark.parametrize(
    ("null", "share", "per_day", "held"),
    [(0.0132, 0.03, 14.0, 0.2), (0.0132, 0.03, 200.0, 0.01), (0.05, 0.1, 50.0, 0.05), (0.0132, 0.1, 14.0, 0.2)],
)
def test_the_labels_needed_are_of_the_size_that_is_needed(
    null: float, share: float, per_day: float, held: float
) -> None:
    """Wealth that grew for weeks is enough after one wrong answer; that has to come, and others before it cost."""
    generator = np.random.default_rng(6)
    suspect = replace(start_detector(null, START), wealth=(held / len(STAKES),) * len(STAKES))
    forecast = labels_until_alarm(suspect, share, 86400 / per_day * BUDGET)
    assert forecast is not None
    taken = [
        update_detector(suspect, labels(generator.random(4000) < share, per_day=per_day), BUDGET).n for _ in range(40)
    ]
    assert 0.4 < forecast / float(np.mean(taken)) < 4


def test_before_enough_labels_bets_are_whole() -> None:
    few = update_detector(start_detector(0.02, START), labels([1.0] * 5), BUDGET, min_samples=50)
    assert few.alarmed_at is None
    assert few.evidence > 1
    assert update_detector(few, labels([0.0] * 45), BUDGET, min_samples=50).n == 50


def test_weighted_draws_at_the_allowed_share_keep_the_budget() -> None:
    """Half of the answers are drawn four times as often, and hold most errors: the share is 5 % in the whole."""
    generator = np.random.default_rng(2)
    counts = []
    for _ in range(30):
        doubtful = generator.random(1800) < 0.8  # of the drawn, where it is 0.5 of the whole
        wrong = generator.random(1800) < np.where(doubtful, 0.09, 0.01)
        counts.append(
            alarms(start_detector(0.05, START, 2.5), labels(wrong, np.where(doubtful, 0.625, 2.5), per_day=20.0))
        )
    assert sum(counts) <= 30


@pytest.mark.parametrize(("share", "most"), [(0.5, 25), (0.2, 70), (0.05, 500)])
def test_a_rise_from_one_percent_is_found_within_so_many_labels(share: float, most: int) -> None:
    generator = np.random.default_rng(3)
    delays = []
    for _ in range(30):
        healthy = update_detector(start_detector(0.015, START), labels(generator.random(500) < 0.01), BUDGET)
        assert healthy.alarmed_at is None
        later = labels(generator.random(2 * most + 500) < share)
        moved = [Observation(each.at + timedelta(days=10), each.loss) for each in later]
        found = update_detector(healthy, moved, BUDGET)
        delays.append(found.n - healthy.n if found.alarmed_at else 10**9)
    assert np.median(delays) <= most


@given(st.lists(st.tuples(st.booleans(), st.integers(-60, 3600)), max_size=60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_one_call_many_calls_and_a_restart_give_the_same_detector(steps: list[tuple[bool, int]], cut: int) -> None:
    at, seen = START, []
    for wrong, seconds in steps:
        at += timedelta(seconds=seconds)
        seen.append(Observation(at, float(wrong)))
    whole = update_detector(start_detector(0.1, START), seen, BUDGET)
    half = Detector.from_json(update_detector(start_detector(0.1, START), seen[:cut], BUDGET).to_json())
    assert update_detector(half, seen[cut:], BUDGET) == whole


def test_a_clock_that_goes_back_earns_nothing_twice() -> None:
    there = Observation(START + timedelta(days=1), 0.0)
    back = Observation(START, 0.0)
    steady = update_detector(start_detector(0.1, START), [there, there, there], BUDGET)
    jumping = update_detector(start_detector(0.1, START), [there, back, there], BUDGET)
    assert jumping.wealth == steady.wealth


def test_an_alarm_stays_until_it_is_reset_and_labels_after_it_change_nothing() -> None:
    fired = update_detector(start_detector(0.01, START), labels([1.0] * 60), BUDGET)
    assert fired.alarmed_at is not None
    assert fired.evidence >= 1
    assert fired.n < 20
    assert update_detector(fired, labels([0.0] * 500), BUDGET) == fired
    assert restart_detector(fired, START).evidence == 0


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [({}, ""), ({"a": 0.9}, ""), ({"a": 1.0, "b": 0.2}, "a"), ({"a": 0.6, "b": 0.5, "c": 0.1}, "ab")],
)
def test_streams_alarm_alone_at_one_or_together_at_their_part(evidence: dict[str, float], expected: str) -> None:
    assert e_bh(evidence) == frozenset(expected)


@pytest.mark.parametrize("observation", [Observation(START, 2.0), Observation(START, 0.0, 1.5)])
def test_a_label_that_does_not_fit_is_refused_by_name(observation: Observation) -> None:
    with pytest.raises(WindowError, match="does not fit"):
        update_detector(start_detector(0.1, START), [observation], BUDGET)


@pytest.mark.parametrize(("null", "heaviest"), [(0.0, 1.0), (1.0, 1.0), (0.1, 0.0)])
def test_what_cannot_be_watched_is_refused(null: float, heaviest: float) -> None:
    with pytest.raises(WindowError):
        start_detector(null, START, heaviest)


@pytest.mark.parametrize("raw", [{}, start_detector(0.1, START).to_json() | {"wealth": [0.0]}])
def test_a_state_that_does_not_fit_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(WindowError, match="begin a new detector"):
        Detector.from_json(raw)


def test_the_turning_point_lies_near_the_change() -> None:
    draw = np.random.default_rng(3)
    off = []
    for _ in range(50):
        wrong = np.concatenate([draw.random(800) < 0.01, draw.random(150) < 0.12])
        labels = [Observation(START, float(each)) for each in wrong]
        off.append(change_point(0.02, 1.0, labels) - 800)
    assert abs(float(np.median(off))) <= 15
    assert max(off) < 100


def test_the_turning_point_of_no_labels_is_refused() -> None:
    with pytest.raises(WindowError, match="no label"):
        change_point(0.02, 1.0, [])
