"""Exact arithmetic for two models judged on the same rows."""

from math import comb

import numpy as np
import pytest
from scipy import special

from registry.errors import GateError
from registry.gate.paired_comparison import (
    FEWEST_BLOCKS,
    PairedPredictions,
    difference_bounds,
    exact_bounds,
    holm,
    judged_block_bounds,
    mcnemar_exact,
    square_and_add,
)
from tests.support.gate_simulations import KINDS_OF_DAYS, days_of_chances, kinds_of_days


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


def days(seed: int, count: int, per_day: int, differing: float, shift: float) -> PairedPredictions:
    """Days of rows; on a few, the models answer differently, and who is right then depends on the day."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(count * per_day, np.int64)
    champion, candidate = labels.copy(), labels.copy()
    for day in range(count):
        some = day * per_day + np.flatnonzero(generator.random(per_day) < generator.beta(2, 2 / differing - 2))
        chance = (1 + shift / differing) / 2
        wins = generator.random(len(some)) < generator.beta(4 * chance, 4 * (1 - chance))
        champion[some[wins]], candidate[some[~wins]] = 1, 1
    return PairedPredictions(labels, champion, candidate, "golden", blocks=np.repeat(np.arange(count), per_day))


def test_six_weeks_of_days_can_rule_out_a_loss_where_the_models_answer_nearly_alike() -> None:
    """Without what the answers themselves rule out, 44 days leave 6.7 points open even for one and the same model."""
    equal = [days(seed, 44, 27, 0.025, 0.0) for seed in range(20)]
    assert all(difference_bounds(each, 0.05)[0] < -0.05 for each in equal)
    assert sum(judged_block_bounds(each, 0.05)[0] > -0.02 for each in equal) >= 15
    worse = [days(seed, 44, 27, 0.05, -0.02) for seed in range(60)]
    assert sum(judged_block_bounds(each, 0.05)[0] > -0.02 for each in worse) <= 5


def test_bounds_of_judged_blocks_are_those_of_rows_where_no_block_is_known() -> None:
    plain = rows(both=180, gained=6, lost=5)
    assert judged_block_bounds(plain, 0.05) == difference_bounds(plain, 0.05)
    alike = PairedPredictions(plain.labels, plain.champion, plain.champion, "golden", blocks=np.arange(191) // 10)
    low, high = judged_block_bounds(alike, 0.05)
    assert low == -high < -0.02, "191 rows of 20 days rule out nothing near two points, even where no row differs"
    more = np.zeros(1200, np.int64)
    same = PairedPredictions(more, more, more, "golden", blocks=np.arange(1200) // 30)
    assert judged_block_bounds(same, 0.05)[0] > -0.005


@pytest.mark.parametrize("kind", KINDS_OF_DAYS)
@pytest.mark.parametrize(
    ("count", "per_day"),
    [(1, 60), (2, 300), (3, 20), (5, 50), (10, 10), (14, 50), (19, 300), (20, 14), (20, 60), (44, 7), (44, 27)],
)
def test_a_candidate_that_loses_the_margin_on_days_like_these_is_let_through_in_one_of_twenty(
    kind: str, count: int, per_day: int
) -> None:
    """150 runs, whose own standard error is 1.8 points at a chance of 5 %: more than 14 would show a broken level."""
    generator = np.random.default_rng(count * 1000 + per_day)
    runs = 150 if count >= FEWEST_BLOCKS else 10
    drawn = (days_of_chances(generator, per_day, *kinds_of_days(kind, generator, count)) for _ in range(runs))
    passed = sum(judged_block_bounds(each, 0.05)[0] > -0.02 for each in drawn)
    assert passed <= (14 if count >= FEWEST_BLOCKS else 0), "fewer than twenty days settle nothing"
