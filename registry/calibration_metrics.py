"""Calibration metrics: how far confidence lies from accuracy."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose confidence lies from `low` to `high`."""

    low: float
    high: float
    rows: int
    confidence: float
    """Mean; 0 without rows."""
    correct: int


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error of n answers: mean gap of confidence and accuracy over equally wide bins; 0 for none.

    Naeini, Cooper and Hauskrecht, AAAI 2015.
    """
    if not len(correct):
        return 0.0
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=confidence.astype(np.float64) - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(correct))


def debiased_calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> float:
    """Root mean square gap of confidence and accuracy over equally full bins, what chance alone adds taken off.

    Even a model whose word is perfect shows gaps in bins of few answers; their expected square is subtracted (Kumar,
    Liang and Ma, "Verified Uncertainty Calibration", NeurIPS 2019). 0 where nothing is left, and for no answers.
    """
    order = np.argsort(confidence, kind="stable")
    total = 0.0
    for part in np.array_split(order, min(BINS, max(1, len(order) // 2))):
        if len(part) < 2:
            continue
        share = float(correct[part].mean())
        gap = float(confidence[part].astype(np.float64).mean()) - share
        total += len(part) * (gap * gap - share * (1 - share) / (len(part) - 1))
    return math.sqrt(max(0.0, total) / len(order)) if len(order) else 0.0


def reliability_bins(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """The bins that `calibration_error` sums over, for a diagram."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    made = []
    for index in range(BINS):
        rows = bins == index
        mean = float(confidence[rows].astype(np.float64).mean()) if rows.any() else 0.0
        made.append(ReliabilityBin(index / BINS, (index + 1) / BINS, int(rows.sum()), mean, int(correct[rows].sum())))
    return tuple(made)
