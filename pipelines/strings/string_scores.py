"""Scores readings of strings: the shares of whole strings, with interval, and of single digits that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.evaluation.classification_scores import wilson_interval
from registry.calibration_metrics import calibration_error
from registry.edit_distance import edit_distance


@dataclass(frozen=True, eq=False)
class StringScores:
    """How good readings of n strings are. Digits are right but for the edits from the reading to the truth."""

    n: int
    strings_right: float
    interval: tuple[float, float]
    digits_right: float
    calibration_error: float
    right: NDArray[np.bool_]


def score_strings(answers: Sequence[str], confidences: NDArray[np.float64], texts: Sequence[str]) -> StringScores:
    """Compare answers with true texts, one each; raises DataError without any."""
    if not texts or len(answers) != len(texts) or confidences.shape != (len(texts),):
        raise DataError(f"{len(answers)} readings of {len(texts)} strings; give one each, at least one")
    right = np.array([answer == text for answer, text in zip(answers, texts, strict=True)])
    edits = sum(edit_distance(answer, text) for answer, text in zip(answers, texts, strict=True))
    return StringScores(
        n=len(texts),
        strings_right=float(right.mean()),
        interval=wilson_interval(int(right.sum()), len(texts)),
        digits_right=max(0.0, 1 - edits / sum(len(text) for text in texts)),
        calibration_error=calibration_error(confidences, right),
        right=right,
    )
