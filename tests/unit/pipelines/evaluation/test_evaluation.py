"""The judgement of a model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.evaluation.classification_scores import confused_pairs, score_predictions, wilson_interval

CLASSES = ("a", "b", "c")


def random_rows(
    rows: int = 200,
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    generator = np.random.default_rng(0)
    return generator.dirichlet([1, 1, 1], rows), generator.integers(0, 3, rows)


def test_numbers_agree_with_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score, log_loss

    probabilities, labels = random_rows()
    judgement = score_predictions(probabilities, labels, CLASSES)
    answers = probabilities.argmax(1)
    assert judgement.n == 200
    assert judgement.correct == int((answers == labels).sum())
    assert judgement.accuracy == pytest.approx(judgement.correct / 200)
    assert judgement.confusion.tolist() == confusion_matrix(labels, answers).tolist()
    assert judgement.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro"))
    assert judgement.nll == pytest.approx(log_loss(labels, probabilities))
    assert judgement.brier == pytest.approx(brier_score_loss(labels, probabilities, scale_by_half=False))


@pytest.mark.parametrize(("right", "rows"), [(0, 5), (5, 5), (97, 100), (3, 7)])
def test_the_interval_is_wilsons(right: int, rows: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    assert wilson_interval(right, rows) == pytest.approx(proportion_confint(right, rows, method="wilson"), abs=1e-12)
    low, high = wilson_interval(right, rows)
    assert low <= right / rows <= high


def test_without_rows_the_interval_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_most_frequent_mistakes_come_first_and_no_more_than_there_are() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    answers = np.array([1, 1, 0, 0, 2, 2])
    judgement = score_predictions(np.eye(3)[answers], labels, CLASSES)
    assert confused_pairs(judgement) == ((0, 1, 2), (1, 0, 1))
    assert confused_pairs(judgement, 1) == ((0, 1, 2),)


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    probabilities = np.tile([0.9, 0.1, 0.0], (10, 1))
    labels = np.array([0] * 5 + [1] * 5)
    assert score_predictions(probabilities, labels, CLASSES).calibration_error == pytest.approx(0.4)


def test_a_class_without_rows_stays_out_of_the_metrics_and_the_mean() -> None:
    judgement = score_predictions(np.eye(3)[[0, 1]], np.array([0, 1]), CLASSES)
    assert (judgement.per_class[2].n, judgement.per_class[2].recall) == (0, 0.0)
    assert judgement.macro_f1 == 1.0
    metrics = judgement.as_metrics("golden")
    assert "golden_recall_c" not in metrics
    assert metrics["golden_recall_a"] == metrics["golden_accuracy"] == 1.0
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_sure_and_wrong_answer_has_a_large_but_finite_loss() -> None:
    assert math.isfinite(score_predictions(np.eye(3)[[0]], np.array([1]), CLASSES).nll)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, np.int64), "no rows"),
        (np.ones((2, 2)), np.zeros(2, np.int64), r"\(2, 3\)"),
        (np.full((1, 3), np.nan), np.zeros(1, np.int64), "not finite"),
        (np.eye(3), np.array([0, 1, 3]), "from 0 to 3"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(
    probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        score_predictions(probabilities, labels, CLASSES)
