"""What may be accepted unseen at which risk: the share of answers that are sure enough, and how many of them are wrong.

Risk and coverage are those of El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification" (JMLR
2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.classification_scores import wilson_interval

RISKS: Final = (0.001, 0.005, 0.01)
"""The errors among accepted answers that are asked about."""


@dataclass(frozen=True)
class OperatingPoint:
    """What happens when readings at least so sure are accepted: the share of them, and of these the share in error."""

    threshold: float
    accepted: float
    error: float


@dataclass(frozen=True)
class AcceptedShare:
    """How many of some rows are accepted at an error of at most `risk`, and how many of these are wrong all the same.

    Where none are accepted the threshold is 1. The threshold was chosen on the rows themselves, which flatters it.
    """

    risk: float
    threshold: float
    rows: int
    accepted: int
    wrong: int

    @property
    def share(self) -> float:
        """Of the rows, those that are accepted."""
        return self.accepted / self.rows if self.rows else 0.0

    @property
    def limits(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson)."""
        return wilson_interval(self.accepted, self.rows)

    @property
    def error_limits(self) -> tuple[float, float]:
        """The 95 % interval of the error among accepted answers (Wilson)."""
        return wilson_interval(self.wrong, self.accepted)


def operating_points(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[OperatingPoint, ...]:
    """The risk-coverage curve: one point for each confidence that occurs, the surest first; equal ones go together."""
    order = np.argsort(-confidences, kind="stable")
    ordered, errors = confidences[order], np.cumsum(~right[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.array([], int)
    return tuple(
        OperatingPoint(float(ordered[at]), (int(at) + 1) / len(ordered), float(errors[at] / (at + 1))) for at in last
    )


def best_operating_point(points: Sequence[OperatingPoint], max_error: float) -> OperatingPoint:
    """The point that accepts most at no more than this error; one that accepts nothing where there is none."""
    allowed = [point for point in points if point.error <= max_error]
    return max(allowed, key=lambda point: point.accepted, default=OperatingPoint(1.0, 0.0, 0.0))


def point_at(confidences: NDArray[np.float64], right: NDArray[np.bool_], threshold: float) -> OperatingPoint:
    """What a threshold that was chosen elsewhere does on these readings."""
    accepted = confidences >= threshold
    error = float((~right[accepted]).mean()) if accepted.any() else 0.0
    return OperatingPoint(threshold, float(accepted.mean()) if len(accepted) else 0.0, error)


def accepted_shares(
    confidences: NDArray[np.float64], right: NDArray[np.bool_], risks: Sequence[float] = RISKS
) -> tuple[AcceptedShare, ...]:
    """What is accepted at each risk, with thresholds chosen on these rows."""
    points, rows, shares = operating_points(confidences, right), len(right), []
    for risk in risks:
        point = best_operating_point(points, risk)
        accepted = round(point.accepted * rows)
        shares.append(AcceptedShare(risk, point.threshold, rows, accepted, round(point.error * accepted)))
    return tuple(shares)
