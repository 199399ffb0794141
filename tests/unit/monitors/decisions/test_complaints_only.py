"""Real digits, feedback that is nearly all complaints: what it says by itself, and what drawn labels say."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from monitors.statistics.intervals import WeightedCount, weighted_error_share
from monitors.statistics.review_sampling import make_sampling_plan, poisson_draw, stratum_of

ANSWERS = 3_000
PER_DAY = 150
RUNS = 100
CONFIDENCE = 0.975
"""Of each limit: both together hold in 95 of 100 windows."""


@dataclass(frozen=True)
class Reader:
    """A classifier's answers to digits it never saw."""

    labels: list[str]
    confidence: NDArray[np.float64]
    wrong: NDArray[np.bool_]


@pytest.fixture(scope="module")
def reader() -> Reader:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    taught, asked = order[:400], order[400:]
    model = LogisticRegression(max_iter=2_000).fit(digits.data[taught] / 16, digits.target[taught])
    shares = model.predict_proba(digits.data[asked] / 16)
    answers = shares.argmax(axis=1)
    return Reader([str(each) for each in answers], shares.max(axis=1), answers != digits.target[asked])


@pytest.mark.slow
def test_complaints_mislead_by_tens_of_points_and_drawn_labels_cover_the_truth(reader: Reader) -> None:
    truth, random = float(reader.wrong.mean()), np.random.default_rng(1)
    covered, naive, widths = 0, [], []
    for run in range(RUNS):
        shown = random.integers(len(reader.wrong), size=ANSWERS)
        strata = Counter(stratum_of(reader.labels[i], float(reader.confidence[i])) for i in shown)
        doubt: dict[str, float] = defaultdict(float)
        for i in shown:
            doubt[stratum_of(reader.labels[i], float(reader.confidence[i]))] += 1 - float(reader.confidence[i])
        plan = make_sampling_plan(PER_DAY, dict(strata), {name: doubt[name] / n for name, n in strata.items()}, 0.5)
        chances = [
            poisson_draw(plan, f"{run}-{place}", "salt", reader.labels[i], float(reader.confidence[i]))
            for place, i in enumerate(shown)
        ]
        drawn = [(1 / chance, bool(reader.wrong[i])) for i, chance in zip(shown, chances, strict=True) if chance]
        n, wrong = Counter(weight for weight, _ in drawn), Counter(weight for weight, bad in drawn if bad)
        estimate = weighted_error_share([WeightedCount(weight, n[weight], wrong[weight]) for weight in n], CONFIDENCE)
        covered += estimate.low <= truth <= estimate.high
        widths.append(estimate.high - estimate.low)
        complaints = int(reader.wrong[shown].sum() * 0.6)
        naive.append(complaints / (complaints + round(complaints * 0.05 / 0.95)))
    assert min(naive) - truth > 0.5, "nineteen of twenty labels are complaints: they say nearly all is wrong"
    assert covered >= binom.ppf(0.01, RUNS, 0.95)
    assert float(np.median(widths)) < 0.2, "and the interval says something"
