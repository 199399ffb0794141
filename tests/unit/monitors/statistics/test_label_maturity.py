"""How old an answer must be before its label may estimate, from how late labels came."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.statistics.label_maturity import LabelLags, derived_maturity, uncovered_share

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def lags(right: list[timedelta], wrong: list[timedelta] | None = None) -> LabelLags:
    """Labels of answers given at the start."""
    known = [*((lag, True) for lag in right), *((lag, False) for lag in wrong or [])]
    return LabelLags().add((START, START + lag, is_right) for lag, is_right in known)


def test_labels_that_come_at_once_are_read_at_once() -> None:
    assert derived_maturity(lags([timedelta(0)] * 30), START) == timedelta(0)


def test_an_answer_is_mature_when_19_of_20_labels_of_right_answers_have_come() -> None:
    derived = derived_maturity(lags([n * HOUR for n in range(1, 101)], [HOUR] * 50), START + 30 * DAY)
    assert derived is not None
    assert 95 * HOUR <= derived <= 1.1 * 95 * HOUR


def test_too_few_labels_tell_nothing() -> None:
    assert derived_maturity(LabelLags(), START) is None
    assert derived_maturity(lags([HOUR] * 19), START + 30 * DAY) is None


def test_a_quantile_is_relied_on_when_labels_have_been_watched_three_times_as_long() -> None:
    some = lags([7 * DAY] * 30)
    assert derived_maturity(some, START + 16 * DAY) is None
    assert derived_maturity(some, START + 24 * DAY) is not None


def test_labels_that_say_hardly_anything_but_wrong_are_read_after_a_much_longer_watch() -> None:
    complaints = lags([], [DAY] * 40)
    assert derived_maturity(complaints, START + 5 * DAY) is None
    assert derived_maturity(complaints, START + 12 * DAY) is not None


def test_lags_that_grow_late_are_not_relied_on_early() -> None:
    """Right answers are confirmed after 7 days on average: whenever a lag is derived it covers nearly 9 in 10."""
    generator = np.random.default_rng(1)
    asked = generator.uniform(0, 90, 3_000)
    known = asked + generator.exponential(7.0, 3_000)
    derived = []
    for day in range(1, 90, 3):
        seen = [
            (START + at * DAY, START + then * DAY, True) for at, then in zip(asked, known, strict=True) if then < day
        ]
        maturity = derived_maturity(LabelLags().add(seen), START + day * DAY)
        if maturity is not None:
            derived.append(maturity / DAY)
    assert min(derived) > 7 * np.log(9)
    assert len(derived) > 10, "and in time there is one"


def test_the_share_that_comes_too_late_is_told() -> None:
    some = lags([HOUR] * 80 + [10 * DAY] * 20)
    assert uncovered_share(some, DAY) == pytest.approx(0.2)
    assert uncovered_share(some, 11 * DAY) == 0
    assert uncovered_share(lags([HOUR]), DAY) is None


def test_old_lags_are_forgotten() -> None:
    before = lags([10 * DAY] * 4_000)
    after = before.add((START, START + HOUR, True) for _ in range(80_000))
    derived = derived_maturity(after, START + 60 * DAY)
    assert derived is not None
    assert derived < 2 * HOUR


def test_lags_are_kept_between_evaluations() -> None:
    some = lags([HOUR] * 30, [DAY])
    assert LabelLags.from_json(some.to_json()) == some
    with pytest.raises(WindowError, match="begin anew"):
        LabelLags.from_json({"right": 3})
