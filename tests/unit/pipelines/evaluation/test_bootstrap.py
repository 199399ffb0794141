"""Intervals of scores by drawing rows again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.answers import JudgedAnswers, judge_answers
from pipelines.evaluation.classification_scores import bootstrap_intervals, score_predictions
from registry.prediction_task import Classification

CLASSES = ("a", "b", "c")


def judged(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> JudgedAnswers:
    return judge_answers(Classification(CLASSES), probabilities, labels)


def test_intervals_lie_around_the_scores_and_are_the_same_again() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([4, 1, 1], 300)
    labels = np.where(generator.random(300) < 0.8, 0, generator.integers(0, 3, 300)).astype(np.int64)
    scores = score_predictions(probabilities, labels, CLASSES).as_metrics("golden")
    found = bootstrap_intervals(judged(probabilities, labels))
    assert found == bootstrap_intervals(judged(probabilities, labels))
    for name in ("f1_macro", "nll", "brier"):
        low, high = found[name]
        assert low < scores[f"golden_{name}"] < high


def test_the_interval_of_a_mean_is_as_wide_as_its_normal_one() -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet([1, 1, 1], 2000)
    labels = generator.integers(0, 3, 2000)
    loss = -np.log(probabilities[np.arange(2000), labels])
    low, high = bootstrap_intervals(judged(probabilities, labels))["nll"]
    assert high - low == pytest.approx(2 * 1.96 * loss.std() / np.sqrt(2000), rel=0.15)


def test_more_rows_are_surer() -> None:
    generator = np.random.default_rng(2)
    probabilities, labels = generator.dirichlet([1, 1, 1], 3000), generator.integers(0, 3, 3000)
    widths = [np.ptp(bootstrap_intervals(judged(probabilities[:n], labels[:n]))["brier"]) for n in (100, 3000)]
    assert widths[1] < widths[0] / 3
