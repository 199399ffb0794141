"""The share of wrong answers from drawn labels: its limits hold, and complaints do not move it."""

from itertools import product

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.statistics.intervals import (
    Estimate,
    WeightedCount,
    clopper_pearson,
    difference_limits,
    newcombe_difference,
    weighted_error_share,
)
from monitors.statistics.review_sampling import SamplingPlan, make_sampling_plan, poisson_draw, stratum_of

UNEQUAL = [  # shares of the answers, their error and the weight of their labels
    ((0.1, 0.3, 1.0), (0.9, 0.002, 20.0)),
    ((0.3, 0.1, 1.0), (0.7, 0.01, 5.0)),
    ((0.5, 0.02, 1.0), (0.5, 0.02, 10.0)),
    ((0.02, 0.9, 1.0), (0.98, 0.01, 30.0)),
]


@pytest.mark.parametrize(("wrong", "n"), [(0, 5), (3, 40), (7, 7), (20, 1000)])
@pytest.mark.parametrize("weight", [1.0, 12.5])
def test_with_one_weight_the_limits_are_the_exact_ones(wrong: int, n: int, weight: float) -> None:
    assert weighted_error_share([WeightedCount(weight, n, wrong)], 0.99) == Estimate(
        wrong / n, *clopper_pearson(wrong, n, 0.99), n
    )


def test_the_limits_pass_smoothly_from_one_weight_to_several() -> None:
    nearly = weighted_error_share([WeightedCount(1.0, 20, 2), WeightedCount(1.000001, 20, 1)], 0.99)
    low, high = clopper_pearson(3, 40, 0.99)
    assert [nearly.low, nearly.high] == pytest.approx([low, high], rel=1e-4)


@pytest.mark.parametrize(("population", "labels"), list(product(UNEQUAL, [30, 150])))
def test_each_limit_holds_as_often_as_promised(population: tuple[tuple[float, float, float], ...], labels: int) -> None:
    rng = np.random.default_rng(labels)
    truth = sum(share * error for share, error, _ in population)
    drawn = np.array([share / weight for share, _, weight in population])
    too_high = too_low = 0
    for _ in range(300):
        numbers = rng.multinomial(labels, drawn / drawn.sum())
        cells = [
            WeightedCount(weight, int(n), int(rng.binomial(n, error)))
            for n, (_, error, weight) in zip(numbers, population, strict=True)
        ]
        found = weighted_error_share(cells, 0.95)
        too_high += found.low > truth
        too_low += found.high < truth
    assert too_high / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert too_low / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


MANY = [(20 + 7.3 * n, 1 + n % 9, int(n % 11 == 0)) for n in range(120)]
FEW = [(1.0, 3, 1), (40.0, 2, 0), (300.0, 1, 1)]
SKEWED = [(1.0, 400, 3), (250.0, 2, 1)]


@pytest.mark.parametrize("cells", [MANY, FEW, SKEWED], ids=["many weights", "few labels", "one heavy weight"])
def test_the_limits_are_the_quantiles_of_the_share_under_random_masses(cells: list[tuple[float, int, int]]) -> None:
    draws, rng = 200_000, np.random.default_rng(3)
    found = weighted_error_share([WeightedCount(*cell) for cell in cells], 0.99)
    heaviest = max(weight for weight, _, _ in cells)
    for extra_wrong, limit, chance in ((0, found.low, 0.01), (1, found.high, 0.99)):
        wrong, right = np.zeros(draws), np.zeros(draws)
        for weight, n, bad in [*cells, (heaviest, 1, extra_wrong)]:
            wrong += weight * rng.gamma(bad, size=draws) if bad else 0.0
            right += weight * rng.gamma(n - bad, size=draws) if n > bad else 0.0
        below = float(np.mean(wrong / (wrong + right) < limit))
        assert below == pytest.approx(chance, abs=4 * (0.01 * 0.99 / draws) ** 0.5)


def test_without_an_error_only_the_upper_limit_speaks() -> None:
    found = weighted_error_share([WeightedCount(1.0, 30, 0), WeightedCount(10.0, 50, 0)], 0.99)
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.05 < found.high < 0.2


def test_the_difference_of_counts_is_newcombes() -> None:
    ours = difference_limits(
        weighted_error_share([WeightedCount(1.0, 200, 30)], 0.99),
        weighted_error_share([WeightedCount(1.0, 3000, 24)], 0.99),
    )
    assert ours == pytest.approx(newcombe_difference(30, 200, 24, 3000, 0.99))


@pytest.mark.parametrize("cell", [(0.0, 3, 1), (1.0, 3, 4), (1.0, 3, -1)])
def test_impossible_counts_are_refused(cell: tuple[float, int, int]) -> None:
    with pytest.raises(WindowError, match="count again"):
        WeightedCount(*cell)
    with pytest.raises(WindowError, match="no label"):
        weighted_error_share([], 0.99)


@pytest.mark.slow
def test_with_feedback_that_is_mostly_complaints_drawn_labels_still_cover_the_truth() -> None:
    """Real digits, a model of about 8 % errors, a day of answers; users complain, reviewers label 120 drawn ones."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    learn, serve = order[:120], order[120:]
    model = LogisticRegression(max_iter=200).fit(digits.data[learn], digits.target[learn])
    shares = model.predict_proba(digits.data[serve])
    labels, confidence = shares.argmax(axis=1), shares.max(axis=1)
    wrong = labels != digits.target[serve]
    truth = float(wrong.mean())
    assert 0.04 < truth < 0.15
    strata = [stratum_of(str(label), share) for label, share in zip(labels, confidence, strict=True)]
    names = sorted(set(strata))
    answers = {name: float(strata.count(name)) for name in names}
    doubt = {
        name: float(np.mean([1 - c for c, s in zip(confidence, strata, strict=True) if s == name])) for name in names
    }
    plan = make_sampling_plan(120, answers, doubt)

    complaints = np.random.default_rng(1).choice(np.flatnonzero(wrong), 95), np.flatnonzero(~wrong)[:5]
    naive = len(complaints[0]) / (len(complaints[0]) + len(complaints[1]))
    assert naive - truth > 0.5, "what the complaints alone say is off by tens of points"

    covered, values = 0, []
    for repetition in range(300):
        found = weighted_error_share(_reviewed(plan, f"salt {repetition}", labels, confidence, wrong), 0.975)
        covered += found.low <= truth <= found.high
        values.append(found.value)
    assert covered / 300 >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(values) == pytest.approx(truth, abs=0.005)


def _reviewed(
    plan: SamplingPlan, salt: str, labels: np.ndarray, confidence: np.ndarray, wrong: np.ndarray
) -> list[WeightedCount]:
    cells: dict[float, list[bool]] = {}
    for place, bad in enumerate(wrong):
        chance = poisson_draw(plan, str(place), salt, str(labels[place]), float(confidence[place]))
        if chance is not None:
            cells.setdefault(1 / chance, []).append(bool(bad))
    return [WeightedCount(weight, len(seen), sum(seen)) for weight, seen in cells.items()]
