import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from monitors.errors import WindowError
from monitors.statistics.intervals import (
    binomial_tail,
    clopper_pearson,
    labels_to_prove_drop,
    newcombe_difference,
    quantile_rank_limits,
)


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (3, 10), (10, 10), (190, 200), (1, 5000)])
def test_exact_limits_are_those_of_scipy(successes: int, total: int) -> None:
    known = binomtest(successes, total).proportion_ci(confidence_level=0.98, method="exact")
    assert clopper_pearson(successes, total, 0.99) == pytest.approx((known.low, known.high))


def test_nothing_seen_means_nothing_known() -> None:
    assert clopper_pearson(0, 0, 0.99) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "total"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, total: int) -> None:
    with pytest.raises(WindowError, match="is not a share"):
        clopper_pearson(successes, total, 0.99)


def test_a_difference_lies_inside_its_limits_and_mirrors_when_turned_round() -> None:
    low, high = newcombe_difference(10, 200, 24, 3000, 0.99)
    assert low < 10 / 200 - 24 / 3000 < high
    turned = newcombe_difference(24, 3000, 10, 200, 0.99)
    assert turned == pytest.approx((-high, -low))


def test_more_labels_narrow_a_difference() -> None:
    few, many = (newcombe_difference(n // 20, n, 24, 3000, 0.99) for n in (200, 2000))
    assert many[1] - many[0] < (few[1] - few[0]) / 2


def false_alarms(true_error: float, labels: int, golden: int, confidence: float, threshold: float = 0.005) -> float:
    """The exact chance that low > threshold, summed over every possible pair of counts."""

    def likely(total: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        counts = np.arange(total + 1)
        chances = binom.pmf(counts, total, share)
        return counts[chances > 1e-7], chances[chances > 1e-7]

    chance = 0.0
    for k0, p0 in zip(*likely(golden, 0.008), strict=True):
        for k1, p1 in zip(*likely(labels, true_error), strict=True):
            low, _ = newcombe_difference(int(k1), labels, int(k0), golden, confidence)
            chance += float(p0 * p1) * (low > threshold)
    return chance


@pytest.mark.parametrize("labels", [50, 200, 1000])
@pytest.mark.parametrize("golden", [400, 3000])
def test_even_a_model_exactly_at_the_threshold_is_blamed_at_most_as_often_as_promised(labels: int, golden: int) -> None:
    assert false_alarms(0.013, labels, golden, 0.99) <= 0.01


def test_quantile_limits_hold_as_often_as_promised_whatever_the_distribution() -> None:
    generator = np.random.default_rng(11)
    truth = math.exp(1.6448536269514722)  # the 95th percentile of exp(normal)
    samples = np.sort(np.exp(generator.standard_normal((2000, 300))), axis=1)
    lowest, highest = quantile_rank_limits(300, 0.95, 0.95)
    assert lowest is not None
    assert highest is not None
    too_high = np.mean(samples[:, lowest - 1] > truth)
    too_low = np.mean(samples[:, highest - 1] < truth)
    assert 0.02 < too_high <= 0.055
    assert 0.02 < too_low <= 0.055


def test_a_small_sample_has_no_upper_limit_and_an_empty_one_has_none() -> None:
    assert quantile_rank_limits(5, 0.95, 0.99) == (3, None)
    assert quantile_rank_limits(0, 0.95, 0.99) == (None, None)


@pytest.mark.parametrize(("n", "confidence"), [(1, 0.9), (60, 0.99), (300, 0.95), (1000, 0.999)])
def test_the_ranks_are_the_tightest_that_hold(n: int, confidence: float) -> None:
    below = binom.cdf(np.arange(n + 1), n, 0.95)  # P(at most so many values under the quantile)
    lowest, highest = quantile_rank_limits(n, 0.95, confidence)
    safe = [rank for rank in range(1, n + 1) if 1 - below[rank - 1] >= confidence]
    assert lowest == (max(safe) if safe else None)
    safe = [rank for rank in range(1, n + 1) if below[rank - 1] >= confidence]
    assert highest == (min(safe) if safe else None)


def test_the_binomial_tail_is_the_exact_p_value() -> None:
    assert binomial_tail(7, 30, 0.1) == pytest.approx(binomtest(7, 30, 0.1, alternative="greater").pvalue)
    assert binomial_tail(0, 30, 0.1) == 1.0


def test_labels_needed_is_the_first_count_that_proves_the_drop() -> None:
    needed = labels_to_prove_drop(0.95, 2976, 3000, 0.005, 0.99)
    assert needed is not None
    assert newcombe_difference(0.05 * needed, needed, 24, 3000, 0.99)[0] > 0.005
    assert newcombe_difference(0.05 * (needed - 1), needed - 1, 24, 3000, 0.99)[0] <= 0.005


def test_a_drop_within_the_golden_sets_own_doubt_can_never_be_proved() -> None:
    assert labels_to_prove_drop(0.986, 397, 400, 0.005, 0.99) is None
