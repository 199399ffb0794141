"""Scores a model's predictions on labelled rows: accuracy, losses, calibration, each class, the confusion matrix.

Scores that have no formula for an interval get one by bootstrap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import JudgedAnswers, judge_answers
from pipelines.errors import DataError
from registry.calibration_metrics import calibration_error, debiased_calibration_error
from registry.prediction_task import Classification

MIN_PROBABILITY = 1e-12
BOOTSTRAP_DRAWS = 400
Intervals = dict[str, tuple[float, float]]
"""Lower and upper limit of each score."""
Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class ClassScore:
    """How one class fared; a share without rows is 0, so read `n` first."""

    name: str
    n: int
    precision: float
    recall: float
    f1: float
    recall_low: float
    recall_high: float


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """How a model fared on rows whose truth is known."""

    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    confusion: NDArray[np.int64]
    """Counts; rows are the truth, columns the answers."""
    per_class: tuple[ClassScore, ...]
    macro_f1: float
    """Mean over the classes that have rows."""
    nll: float
    brier: float
    """Mean squared distance of the probabilities from the truth, over all classes: 0 is perfect, 2 the worst."""
    calibration_error: float
    calibration_error_debiased: float
    """See `registry.calibration_metrics.debiased_calibration_error`."""

    @property
    def correct(self) -> int:
        """How many rows were answered right."""
        return int(self.confusion.trace())

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """Stable names for a tracking server; classes without rows are left out."""
        metrics = {
            f"{prefix}_rows": float(self.n),
            f"{prefix}_accuracy": self.accuracy,
            f"{prefix}_accuracy_low": self.accuracy_low,
            f"{prefix}_accuracy_high": self.accuracy_high,
            f"{prefix}_f1_macro": self.macro_f1,
            f"{prefix}_nll": self.nll,
            f"{prefix}_brier": self.brier,
            f"{prefix}_calibration_error": self.calibration_error,
            f"{prefix}_calibration_error_debiased": self.calibration_error_debiased,
        }
        for score in self.per_class:
            if score.n:
                metrics[f"{prefix}_precision_{score.name}"] = score.precision
                metrics[f"{prefix}_recall_{score.name}"] = score.recall
                metrics[f"{prefix}_f1_{score.name}"] = score.f1
        return metrics


def score_predictions(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> ClassificationScores:
    """Compare probabilities (n, classes) with the truth, a class index per row."""
    return score_answers(judge_answers(Classification(classes), probabilities, labels))


def score_answers(judged: JudgedAnswers) -> ClassificationScores:
    """Score answers whose truth is known; raises DataError without any."""
    if not len(judged):
        raise DataError("there are no rows to judge; give at least one labelled row")
    classes, of_truth = judged.names, judged.of_truth
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (judged.labels, judged.answers), 1)
    rows, right = len(judged), int(confusion.trace())
    low, high = wilson_interval(right, rows)
    scores = tuple(_class_score(name, confusion, index) for index, name in enumerate(classes))
    return ClassificationScores(
        n=rows,
        accuracy=right / rows,
        accuracy_low=low,
        accuracy_high=high,
        confusion=confusion,
        per_class=scores,
        macro_f1=float(np.mean([score.f1 for score in scores if score.n])),
        nll=float(-np.log(np.maximum(of_truth, MIN_PROBABILITY)).mean()),
        brier=float(judged.distance.mean()),
        calibration_error=calibration_error(judged.confidences, judged.right),
        calibration_error_debiased=debiased_calibration_error(judged.confidences, judged.right),
    )


def confused_pairs(scores: ClassificationScores, limit: int = 10) -> tuple[tuple[int, int, int], ...]:
    """The most frequent mistakes as (truth, answer, rows), class indices; the most frequent first."""
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    width = wrong.shape[1]
    pairs = [(int(at // width), int(at % width), int(wrong.flat[at])) for at in order]
    return tuple(pair for pair in pairs if pair[2])


def wilson_interval(correct: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); without rows it is everything from 0 to 1."""
    if rows == 0:
        return 0.0, 1.0
    share, square = correct / rows, Z_95 * Z_95
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    half = Z_95 / (1 + square / rows) * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def _class_score(name: str, confusion: NDArray[np.int64], index: int) -> ClassScore:
    right, rows = int(confusion[index, index]), int(confusion[index].sum())
    answered = int(confusion[:, index].sum())
    low, high = wilson_interval(right, rows)
    return ClassScore(
        name=name,
        n=rows,
        precision=right / answered if answered else 0.0,
        recall=right / rows if rows else 0.0,
        f1=2 * right / (rows + answered) if rows + answered else 0.0,
        recall_low=low,
        recall_high=high,
    )


def bootstrap_intervals(judged: JudgedAnswers, *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Intervals:
    """95 % percentile intervals of scores, by their names in `ClassificationScores.as_metrics` without the prefix.

    Rows are drawn again with replacement (Efron 1979). Calibration errors get none: rows that are drawn twice look
    like rows that agree, which adds to such an error what its debiasing takes off.
    """
    generator = np.random.default_rng(seed)
    rows, classes = len(judged), len(judged.names)
    labels, answers, distance = judged.labels, judged.answers, judged.distance
    loss = -np.log(np.maximum(judged.of_truth, MIN_PROBABILITY))
    samples = []
    for _ in range(draws):
        drawn = generator.integers(0, rows, rows)
        cells = np.bincount(labels[drawn] * classes + answers[drawn], minlength=classes**2).reshape(classes, classes)
        samples.append((_macro_f1(cells), loss[drawn].mean(), distance[drawn].mean()))
    names = ("f1_macro", "nll", "brier")
    limits = np.quantile(np.array(samples), [0.025, 0.975], axis=0)
    return {name: (float(low), float(high)) for name, low, high in zip(names, *limits, strict=True)}


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that have rows."""
    rows = confusion.sum(axis=1)
    both = rows + confusion.sum(axis=0)
    with_rows = rows > 0
    return float((2 * confusion.diagonal()[with_rows] / both[with_rows]).mean())
