"""The negative log-likelihood of labelled predictions: by hand, with weights, at the floor, in a rule."""

import math
from dataclasses import replace

import numpy as np
import pytest

from monitors.decisions.decision import decide
from monitors.errors import MetricsError
from monitors.windows.jackknife import jackknife_estimate
from monitors.windows.row_statistics import PROBABILITY_FLOOR, negative_log_likelihood_statistic
from monitors.windows.user_metrics import estimate_rows
from monitors.windows.window import Row
from tests.support.monitor_examples import golden, row, rule, tally, window


def rows_with(probabilities: list[float], weight: float = 1.0) -> list[Row]:
    return [
        replace(row(number, "1", "1"), truth_probability=probability, weight=weight)
        for number, probability in enumerate(probabilities)
    ]


def test_it_is_the_weighted_mean_of_minus_log_p() -> None:
    rows = [*rows_with([0.5, 0.25]), *rows_with([0.125], weight=2.0)]
    assert negative_log_likelihood_statistic(rows)(rows) == pytest.approx((1 + 2 + 2 * 3) * math.log(2) / 4)
    assert negative_log_likelihood_statistic(rows)([]) == 0.0


def test_a_certain_mistake_costs_what_the_floor_says() -> None:
    rows = rows_with([0.0, 1e-30])
    assert negative_log_likelihood_statistic(rows)(rows) == pytest.approx(-math.log(PROBABILITY_FLOOR))


def test_a_row_without_probabilities_is_a_fault_that_says_so() -> None:
    with pytest.raises(MetricsError, match="probabilities of prediction p0 are not kept"):
        negative_log_likelihood_statistic([])([row(0, "1", "1")])


def test_its_limits_hold_about_as_often_as_they_say() -> None:
    generator, true = np.random.default_rng(5), 1 / 3  # p = u ** (1 / 3) has the mean -log p of 1 / 3
    outside = 0
    for _ in range(200):
        rows = rows_with((generator.random(400) ** true).tolist())
        outside += jackknife_estimate(negative_log_likelihood_statistic(rows), rows, 0.95).low > true
    assert outside <= 20, "5 % of 200, and four standard deviations of luck"


@pytest.mark.parametrize(("probability", "state"), [(0.95, "ok"), (0.5, "breach")])
def test_a_rule_is_broken_when_its_lower_limit_is_over_the_threshold(probability: float, state: str) -> None:
    watched = rule("negative_log_likelihood", above="0.25")
    generator = np.random.default_rng(6)
    rows = rows_with(np.clip(generator.normal(probability, 0.02, 400), 0.01, 1).tolist())
    counts = replace(tally(rows), row_estimate=estimate_rows(watched, window(rows)))
    [finding] = decide(watched, counts, golden(990, 1000))
    assert finding.state == state
    assert finding.low is not None
    assert finding.low >= 0
    assert finding.sentence.startswith("The negative log-likelihood is ")
