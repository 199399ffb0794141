"""How long labels take: waits that go on count as they stand, and never as health."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding
from monitors.windows.window_counts import LabelLag
from tests.support.monitor_examples import golden, rule, tally

DAY = 86_400.0


def waited(days: Sequence[float], still: Sequence[float] = (), **written: object) -> Finding:
    made = rule("label_lag", **{"above": "2d", "window": "14d", "min_samples": 20, **written})
    lags = [LabelLag(each * DAY, False) for each in days] + [LabelLag(each * DAY, True) for each in still]
    [found] = decide(made, replace(tally([]), lags=tuple(lags)), golden(1, 1))
    return found


def test_late_labels_are_a_breach() -> None:
    found = waited([1.0] * 60 + [3.0] * 40)
    assert (found.state, found.value, found.n) == ("breach", 3 * DAY, 100)
    assert found.sentence == (
        "Of 100 answers drawn for review more than 2.0d ago, 10 % waited 3.0d or longer for their label; 0 still wait. "
        "With 99 % confidence the wait is at least 3.0d; the rule allows 2.0d."
    )


def test_quick_labels_are_ok_and_a_few_late_ones_only_suspect() -> None:
    assert waited([0.5] * 100).state == "ok"
    assert waited([0.5] * 88 + [5.0] * 12).state == "suspect"


def test_labels_that_do_not_come_at_all_are_a_breach() -> None:
    found = waited([], np.linspace(2, 14, 100).tolist())
    assert found.state == "breach"
    assert found.high is None
    assert "100 still wait" in found.sentence


def test_a_wait_that_goes_on_gives_no_upper_limit_where_it_could_be_longer() -> None:
    assert waited([0.5] * 100, [3.0]).high is not None
    assert waited([0.5] * 100, [3.0] * 9).high is None


def test_another_quantile_may_be_asked_for() -> None:
    days = [0.5] * 55 + [5.0] * 45
    assert waited(days, quantile=0.5).state == "ok"
    assert waited(days, quantile=0.9).state == "breach"


def test_nothing_drawn_long_enough_ago_is_no_data_and_little_is_insufficient() -> None:
    assert waited([]).state == "no-data"
    assert waited([9.0] * 19).needed == 1


def test_reviewers_who_are_just_quick_enough_are_blamed_as_often_as_promised() -> None:
    generator = np.random.default_rng(4)
    scale = 2 / -np.log(0.1)  # the 90th percentile of these waits is two days
    blamed = [waited(generator.exponential(scale, 60).tolist(), confidence=0.95).state == "breach" for _ in range(1000)]
    assert np.mean(blamed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_the_limits_are_waits_that_were_seen() -> None:
    found = waited([each / 10 for each in range(1, 201)])
    assert found.low == pytest.approx(DAY * 17.0, rel=0.02)
    assert found.high is not None
    assert found.low is not None
    assert found.low < (found.value or 0) < found.high
