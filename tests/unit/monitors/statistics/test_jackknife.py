"""Limits by leaving groups out: those of a mean are the textbook's, and they hold as often as they say."""

import numpy as np
import pytest
from scipy import stats

from monitors.errors import MetricsError
from monitors.windows.jackknife import GROUP_COUNT, jackknife_estimate
from monitors.windows.window import Row
from tests.support.monitor_examples import NOON


def rows_of(values: np.ndarray, seed: int = 0) -> list[Row]:
    """Rows whose confidence holds the values, under ids of no order."""
    names = np.random.default_rng(seed).integers(0, 2**60, len(values))
    return [
        Row(str(name), NOON, "1", float(value), None, "1", "audit") for name, value in zip(names, values, strict=True)
    ]


def mean(rows: object) -> float:
    assert isinstance(rows, list)
    return float(np.mean([row.confidence for row in rows]))


def test_the_limits_of_a_mean_are_about_those_of_student() -> None:
    values = np.random.default_rng(1).beta(8, 2, 4000)
    found = jackknife_estimate(mean, rows_of(values), 0.95)
    error = values.std(ddof=1) / 4000**0.5
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.95, GROUP_COUNT - 1) * error, rel=0.5)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_the_true_mean_lies_beyond_each_limit_as_seldom_as_promised() -> None:
    generator = np.random.default_rng(2)
    beyond = np.zeros(2)
    for seed in range(1500):
        found = jackknife_estimate(mean, rows_of(generator.beta(2, 2, 60), seed), 0.95)
        beyond += (found.low > 0.5, found.high < 0.5)
    assert (beyond / 1500 <= 0.05 + 3 * (0.05 * 0.95 / 1500) ** 0.5).all()
    assert (beyond / 1500 >= 0.02).all()


def test_the_same_rows_in_another_order_give_the_same_limits() -> None:
    rows = rows_of(np.random.default_rng(3).beta(2, 2, 100))
    assert jackknife_estimate(mean, rows, 0.99).low == pytest.approx(
        jackknife_estimate(mean, rows[::-1], 0.99).low, abs=1e-12
    )


@pytest.mark.parametrize("given", ["many", None, float("nan"), [1.0]])
def test_what_is_no_number_is_refused(given: object) -> None:
    with pytest.raises(MetricsError, match="return a float"):
        jackknife_estimate(lambda _: given, rows_of(np.full(50, 0.5)), 0.99)  # type: ignore[arg-type, return-value]


def test_a_single_row_makes_no_interval() -> None:
    with pytest.raises(MetricsError, match="1 rows make no interval"):
        jackknife_estimate(mean, rows_of(np.array([0.5])), 0.99)
