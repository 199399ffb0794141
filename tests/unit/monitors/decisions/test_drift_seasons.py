"""Weekends, nights and a class that dies, hour by hour: what the rules on answers say of them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from monitors.decisions.decision import decide
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.windows.reference_period import ReferencePeriod, Span
from monitors.windows.window import Baseline, ReferenceMix
from monitors.windows.window_counts import WindowCounts

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLASSES = tuple("0123456789")
EVEN = np.full(10, 0.1)
SKEWED = np.concatenate([np.full(5, 0.03), np.full(5, 0.17)])
"""A mix that lies 0.35 from the even one."""


@pytest.fixture(scope="module")
def rule() -> Rule:
    keys = {"name": "mix", "metric": "prediction_drift", "above": "20 %", "clear": "10 %", "window": "24h"}
    keys |= {"reference": "7d", "every": "6h", "false_alarms": "1 per 90d"}
    written = {"version": 1, "model": "digits", "rules": [{**keys, "min_samples": 500}]}
    return AlertsConfig.model_validate(written).rules[0]


def states(rule: Rule, start: datetime, mixes: list[NDArray[np.float64]], period: ReferencePeriod) -> list[str]:
    """What a look each six hours finds, 1,000 answers a day."""
    generator = np.random.default_rng(3)
    counts = np.array([generator.multinomial(generator.poisson(1_000 / 24), mix) for mix in mixes])

    def counted(spans: tuple[Span, ...]) -> dict[str, int]:
        rows = [counts[(first - start) // HOUR : (end - start) // HOUR].sum(axis=0) for first, end in spans]
        return dict(zip(CLASSES, np.sum(rows, axis=0).tolist(), strict=True))

    found: list[str] = []
    for hour in range((period.end - start) // HOUR + 24, len(mixes), 6):
        now = start + hour * HOUR
        window = period.comparable_window(now - rule.window, now)
        assert window is not None
        given = {name: {60: n} for name, n in counted((window,)).items() if n}
        tally = WindowCounts("digits", 1, CLASSES, now - DAY, now, 1_000, predictions_by_confidence=given)
        reference = ReferenceMix(
            counted(period.matching_spans(window)), period.end, "the same hours of its first 7 days"
        )
        [finding] = decide(rule, tally, Baseline(990, 1_000, reference_mix=reference))
        found.append(finding.state)
    return found


def hours(days: int, start: datetime = MONDAY) -> list[datetime]:
    return [start + hour * HOUR for hour in range(24 * days)]


@pytest.mark.parametrize("start", [MONDAY, MONDAY + 5 * DAY], ids=["promoted on Monday", "promoted on Saturday"])
def test_weekends_are_compared_with_the_weekend_of_the_first_week(rule: Rule, start: datetime) -> None:
    mixes = [SKEWED if at.weekday() >= 5 else EVEN for at in hours(28, start)]
    assert set(states(rule, start, mixes, ReferencePeriod(start, start + 7 * DAY))) == {"ok"}
    first_hours = ReferencePeriod(start, start + 23 * HOUR)
    assert "breach" in states(rule, start, mixes, first_hours), "the first thousand answers made drift of a weekend"


def test_nights_are_compared_with_nights(rule: Rule) -> None:
    mixes = [SKEWED if at.hour < 6 else EVEN for at in hours(21)]
    assert set(states(rule, MONDAY, mixes, ReferencePeriod(MONDAY, MONDAY + 7 * DAY))) == {"ok"}


def test_a_real_change_is_seen_within_a_day_of_it(rule: Rule) -> None:
    changed = MONDAY + 14 * DAY
    mixes = [SKEWED if at >= changed else EVEN for at in hours(21)]
    found = states(rule, MONDAY, mixes, ReferencePeriod(MONDAY, MONDAY + 7 * DAY))
    looks_before = (14 - 8) * 4
    assert set(found[:looks_before]) == {"ok"}
    assert set(found[looks_before + 4 :]) == {"breach"}
