"""The simulation of many detectors says what the detector itself does, label by label."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.statistics.detection_simulation import StreamSettings, days_until_alarm
from monitors.statistics.e_detector import Observation, has_alarmed, start_detector, update_detector

START = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = 1 / (90 * 86_400)


def exact_days(null: float, per_day: float, usual: float, share: float, days: float, runs: int) -> list[float]:
    """Days until the detector itself alarms after 14 healthy days."""
    generator, gap, found = np.random.default_rng(3), timedelta(days=1 / per_day), []
    for _ in range(runs):
        wrong = np.concatenate(
            [generator.random(int(14 * per_day)) < usual, generator.random(int(days * per_day)) < share]
        )
        labels = [Observation(START + gap * (place + 1), float(each)) for place, each in enumerate(wrong)]
        moved = update_detector(start_detector(null, START), labels, BUDGET, 30)
        found.append((moved.n - int(14 * per_day)) / per_day if has_alarmed(moved) else np.inf)
    return found


@pytest.mark.parametrize(("null", "per_day", "share"), [(0.0201, 20.0, 0.06), (0.0251, 20.0, 0.08)])
def test_it_alarms_as_soon_as_the_detector(null: float, per_day: float, share: float) -> None:
    exact = exact_days(null, per_day, 0.01, share, 25, 60)
    settings = StreamSettings((null,), (1.0,), per_day, BUDGET, 30)
    fast = days_until_alarm(settings, 0.01, [share], 25, 400, 14, seed=1)[0]
    assert np.median(fast) == pytest.approx(np.median(exact), rel=0.35)
    assert np.mean(fast <= 14) == pytest.approx(np.mean(np.array(exact) <= 14), abs=0.18)


def test_a_larger_rise_is_found_no_later_and_an_allowed_one_hardly_ever() -> None:
    settings = StreamSettings((0.02,), (1.0,), 100, BUDGET, 30)
    found = days_until_alarm(settings, 0.01, [0.015, 0.02, 0.04, 0.08, 1.0], 30, 200, 14, seed=1)
    shares = (found <= 30).mean(axis=1)
    assert list(shares) == sorted(shares)
    assert shares[1] <= 0.35, "a third of the budget's period has passed"
    assert shares[-1] == 1
    assert (found[-1] <= 1).all()


def test_no_alarm_comes_before_the_least_number_of_labels() -> None:
    settings = StreamSettings((0.02,), (1.0,), 10, BUDGET, 300)
    found = days_until_alarm(settings, 0.01, [0.9], 30, 20, 14, seed=1)
    assert (found > 15).all(), "140 labels came before"


def test_every_part_of_a_null_must_be_refuted() -> None:
    one = StreamSettings((0.02,), (1.0,), 100, BUDGET)
    harder = StreamSettings((0.02, 0.05), (1.0, 1.0), 100, BUDGET)
    easy = StreamSettings((0.02, 1.0), (1.0, 0.01), 100, BUDGET)
    shares = [0.04]
    alone, both, open_end = (days_until_alarm(each, 0.01, shares, 30, 100, 14, seed=1) for each in (one, harder, easy))
    assert (both <= 30).mean() < 0.5 * (alone <= 30).mean()
    assert (open_end == alone).all(), "a part that allows every error asks for nothing"
