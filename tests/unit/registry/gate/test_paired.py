"""Exact arithmetic for two models judged on the same rows."""

from math import comb

import numpy as np
import pytest
from scipy import special

from registry.errors import GateError
from registry.gate.paired_comparison import (
    PairedPredictions,
    difference_bounds,
    exact_bounds,
    holm,
    mcnemar_exact,
    square_and_add,
)


def rows(both: int, gained: int, lost: int, neither: int = 0) -> PairedPredictions:
    """Rows of class 0, where answering 1 is wrong."""
    champion = np.repeat([0, 1, 0, 1], [both, gained, lost, neither])
    candidate = np.repeat([0, 0, 1, 1], [both, gained, lost, neither])
    return PairedPredictions(np.zeros(len(champion), np.int64), champion, candidate, "golden")


def test_a_comparison_counts_what_each_model_alone_gets_right() -> None:
    comparison = rows(both=80, gained=12, lost=5, neither=3)
    assert (comparison.n, comparison.gains, comparison.losses) == (100, 12, 5)
    assert comparison.accuracy_difference == pytest.approx(0.07)


def test_two_wrong_answers_are_neither_gained_nor_lost() -> None:
    comparison = PairedPredictions(np.array([0, 0]), np.array([1, 2]), np.array([2, 1]), "golden")
    assert (comparison.gains, comparison.losses) == (0, 0)


def test_a_class_and_a_union_keep_their_rows() -> None:
    first = PairedPredictions(np.array([0, 1, 1]), np.array([0, 1, 0]), np.array([0, 0, 1]), "golden")
    assert first.take(first.labels == 1).n == 2
    joined = first.concatenate(rows(2, 0, 0))
    assert (joined.n, joined.origin) == (5, "golden+golden")


@pytest.mark.parametrize(
    ("labels", "champion", "message"),
    [
        (np.array([0, 1]), np.array([0]), "2, 1 and 2 rows"),
        (np.array([0.0, 1.0]), np.array([0, 1]), "labels is float64"),
        (np.array([[0, 1]]), np.array([0, 1]), r"shape \(1, 2\)"),
    ],
)
def test_rows_that_do_not_pair_up_are_refused(
    labels: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
    champion: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
    message: str,
) -> None:
    with pytest.raises(GateError, match=message):
        PairedPredictions(labels, champion, np.array([0, 1]), "golden")


@pytest.mark.parametrize(("against", "in_favour"), [(0, 5), (5, 0), (3, 9), (7, 7), (0, 0), (1, 1)])
def test_mcnemar_is_the_upper_tail_of_a_fair_coin(against: int, in_favour: int) -> None:
    n = against + in_favour
    tail = sum(comb(n, wins) for wins in range(in_favour, n + 1)) / 2**n
    assert mcnemar_exact(against, in_favour) == pytest.approx(tail)


def test_negative_counts_and_impossible_shares_are_refused() -> None:
    with pytest.raises(GateError, match="-1"):
        mcnemar_exact(-1, 3)
    with pytest.raises(GateError, match="4 successes of 3"):
        exact_bounds(4, 3, 0.05)


def test_clopper_pearson_agrees_with_its_tables() -> None:
    assert exact_bounds(10, 100, 0.025) == pytest.approx((0.0490, 0.1762), abs=5e-5)
    assert exact_bounds(0, 20, 0.05)[0] == 0.0
    assert exact_bounds(20, 20, 0.05)[1] == 1.0


@pytest.mark.parametrize(("gained", "lost"), [(9, 5), (0, 4), (6, 6), (30, 2)])
def test_the_bounds_are_where_a_score_test_by_brute_force_rejects(gained: int, lost: int) -> None:
    n, tail = 120, 0.05
    comparison = rows(n - gained - lost, gained, lost)
    for bound, sign in zip(difference_bounds(comparison, tail), (1, -1), strict=True):
        assert sign * brute_force_score(gained, lost, n, bound) == pytest.approx(1.6449, abs=2e-3)


def brute_force_score(gained: int, lost: int, n: int, difference: float) -> float:
    """The score under the likeliest share of lost rows, found by trying a fine grid of them."""
    share_lost = np.linspace(max(0.0, -difference), (1 - difference) / 2, 400_001)[1:-1]
    likelihood = (
        special.xlogy(gained, share_lost + difference)
        + special.xlogy(lost, share_lost)
        + special.xlogy(n - gained - lost, 1 - 2 * share_lost - difference)
    )
    likeliest = float(share_lost[np.argmax(likelihood)])
    spread = 2 * likeliest + difference - difference**2
    return float((gained - lost - n * difference) / np.sqrt(n * spread))


def test_no_rows_say_nothing_and_equal_answers_narrow_with_rows() -> None:
    assert difference_bounds(rows(0, 0, 0), 0.05) == (-1.0, 1.0)
    few, many = difference_bounds(rows(50, 0, 0), 0.05), difference_bounds(rows(500, 0, 0), 0.05)
    assert few[0] < many[0] < 0 < many[1] < few[1]


@pytest.mark.parametrize("gain_rate", [0.0, 0.01, 0.05])
def test_a_candidate_that_truly_loses_the_margin_seldom_looks_harmless(gain_rate: float) -> None:
    margin, n = 0.02, 400
    generator = np.random.default_rng(5)
    chances = [gain_rate, gain_rate + margin, 1 - 2 * gain_rate - margin]
    drawn = generator.multinomial(n, chances, size=400)
    passed = [
        difference_bounds(rows(n - gained - lost, gained, lost), 0.05)[0] > -margin
        for gained, lost, _ in drawn.tolist()
    ]
    assert np.mean(passed) < 0.08


def test_holm_stops_at_the_first_p_value_that_is_too_large() -> None:
    assert holm([0.01, 0.04, 0.03], 0.05) == (True, False, False)
    assert holm([0.01, 0.02, 0.04], 0.05) == (True, True, True)
    assert holm([], 0.05) == ()


def test_the_difference_of_two_wilson_intervals_is_newcombes() -> None:
    """His example of 56 of 70 against 48 of 80: 0.2000 (0.0524 to 0.3339)."""
    from statsmodels.stats.proportion import proportion_confint

    first, second = (
        (share, *proportion_confint(round(share * n), n, method="wilson")) for share, n in ((0.8, 70), (0.6, 80))
    )
    assert square_and_add(first, second) == pytest.approx((0.0524, 0.3339), abs=5e-5)
