"""Gaffke's test and bounds of a mean of bounded values that need not weigh the same.

Every value gets an exponential mass, and so does the lowest value that could have been drawn; the mean is called above
zero where the weighted sum is negative with a chance of at most alpha (Gaffke 2005; Learned-Miller and Thomas 2020). On
values of -1, 0 and 1 this is McNemar's exact test. That the test keeps its level for all bounded values is a conjecture
that no simulation has broken (`python -m benchmarks.guarantees`).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FloatArray = NDArray[np.floating]
_INSIDE = 1e-12
"""How close to the ends of the cumulant function's domain its minimum is looked for."""
_NEAR_MEAN = 1e-4
"""Saddlepoints nearer to zero than this take the limit of the formula, which is 0/0 there."""
_BOUND_ACCURACY = 1e-6
_FORMULA_ERROR = 0.04
"""The relative error of the saddlepoint formula in this use, at most; p-values are raised by as much."""


def positive_mean_p_value(values: FloatArray, lowest: float) -> float:
    """Gaffke's p-value of the hypothesis that the mean of values from `lowest` (below 0) upwards is at most 0."""
    scales, counts = np.unique(np.append(values, lowest), return_counts=True)
    nonzero = scales != 0
    return _negative_sum_chance(scales[nonzero].astype(np.float64), counts[nonzero].astype(np.float64))


def ratio_bounds(
    totals: FloatArray, sizes: FloatArray, limits: tuple[float, float], alpha: float
) -> tuple[float, float]:
    """Bounds of the mean of `totals` over the mean of `sizes` (0 to 1), each one-sided at `alpha`.

    Every total lies within `limits` times its size. Without any size the bounds are the limits.
    """
    lowest, highest = limits
    if not np.any(sizes):
        return lowest, highest
    return _lower_bound(totals, sizes, limits, alpha), -_lower_bound(-totals, sizes, (-highest, -lowest), alpha)


def _lower_bound(totals: FloatArray, sizes: FloatArray, limits: tuple[float, float], alpha: float) -> float:
    lowest, highest = limits

    def excess(ratio: float) -> float:
        return positive_mean_p_value(totals - ratio * sizes, lowest - ratio) - alpha

    low, high = lowest + _BOUND_ACCURACY, min(highest, float(totals.sum() / sizes.sum()))
    if high <= low or excess(low) >= 0:
        return lowest
    if excess(high) <= 0:
        return high
    bound: float = optimize.brentq(excess, low, high, xtol=_BOUND_ACCURACY)
    return bound


def _negative_sum_chance(scales: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """The chance that a sum of exponentials, so many of each scale, is below zero.

    By the saddlepoint formula of Lugannani and Rice (1980), raised by its error.
    """
    if not (scales > 0).any():
        return 1.0
    if not (scales < 0).any():
        return 0.0
    point = float(
        optimize.brentq(
            lambda at: float(counts @ (scales / (1 - at * scales))),
            (1 - _INSIDE) / scales.min(),
            (1 - _INSIDE) / scales.max(),
            xtol=1e-14,
        )
    )
    root = math.copysign(math.sqrt(max(0.0, 2 * float(counts @ np.log1p(-point * scales)))), point)
    if abs(root) < _NEAR_MEAN:
        skew = 2 * float(counts @ scales**3) / math.sqrt(float(counts @ scales**2)) ** 3
        return (0.5 + skew / (6 * math.sqrt(2 * math.pi))) * (1 + _FORMULA_ERROR)
    spread = point * math.sqrt(float(counts @ (scales / (1 - point * scales)) ** 2))
    density = math.exp(-root * root / 2) / math.sqrt(2 * math.pi)
    chance = float(special.ndtr(root)) + density * (1 / root - 1 / spread)
    return min(1.0, max(0.0, chance) * (1 + _FORMULA_ERROR))
