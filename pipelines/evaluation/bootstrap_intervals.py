"""Bootstrap intervals of scores that have no formula."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.classification_scores import MIN_PROBABILITY

DRAWS = 400
Intervals = dict[str, tuple[float, float]]


def bootstrap_intervals(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], *, seed: int = 0, draws: int = DRAWS
) -> Intervals:
    """95 % percentile intervals of scores, by their names in `ClassificationScores.as_metrics` without the prefix.

    Rows are drawn again with replacement (Efron 1979). Calibration errors get none: rows that are drawn twice look
    like rows that agree, which adds to such an error what its debiasing takes off.
    """
    generator = np.random.default_rng(seed)
    rows, classes = probabilities.shape
    exact = probabilities.astype(np.float64)
    answers = exact.argmax(axis=1)
    loss = -np.log(np.maximum(exact[np.arange(rows), labels], MIN_PROBABILITY))
    distance = np.square(exact - np.eye(classes)[labels]).sum(axis=1)
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
