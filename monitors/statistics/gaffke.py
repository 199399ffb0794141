"""Gaffke's quantile of a weighted mean, by a sum of exponentials: in closed form where there is one, else integrated.

Gaffke (2005); Learned-Miller and Thomas (2020). The mean's distribution is that of a weighted sum of
exponential masses, whose sign follows from its characteristic function (Gil-Pelaez 1951; Davies 1973 for the steps).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PERIOD_IN_STD: Final = 9.2
_PERIOD_IN_MAX_SCALE: Final = 84.0
"""So many standard deviations, and of the largest mean, lie between the sum's mean and where less than 1e-9 is left.

By Chernoff's bound; Davies (1973) shows that steps of 2 pi over that distance err by no more.
"""
_NEGLIGIBLE_DECAY: Final = 50.0
_SMALL_DECAY: Final = 40.0
"""What the logarithm of the squared height is where nothing is left to add, and where little is."""
_MAX_EVEN_STEPS: Final = 300
"""Even steps in time, at most; where more would be needed, steps of log time are fewer."""
_LOG_TIME_START: Final = -10.0
_LOG_TIME_END: Final = 12.0
_MAX_STEP_WIDTH: Final = 0.1
_MIN_STEP_WIDTH: Final = 0.02
_MAX_PHASE_STEP: Final = 0.5
_CERTAIN_SIGN_IN_STD: Final = 30.0
"""Standard deviations from zero at which a sum's sign is certain."""
_LOWEST_SHARE: Final = 1e-12
_LEAST_MASS: Final = 1e-3
_FIRST_STEP: Final = 0.05
"""The search goes this part of the guess's distance from 0 and 1, then four times as far each time."""


def gaffke_quantile(cells: Sequence[tuple[float, float, int]], chance: float) -> float:
    """The quantile of the weighted mean of (weight, value, how many) when each has an exponential mass.

    A rule asks for the limits of the same labels at each look until another label comes, so answers are kept.
    """
    return _quantile(tuple(sorted(cell for cell in cells if cell[2])), chance)


@lru_cache(maxsize=2048)
def _quantile(cells: tuple[tuple[float, float, int], ...], chance: float) -> float:
    import numpy as np
    from scipy.optimize import brentq

    weights, values, numbers = (np.array(column, dtype=float) for column in zip(*cells, strict=True))

    if values.min() == values.max():
        return float(values[0])

    def excess(share: float) -> float:
        return _probability_below_zero(weights * (values - share), numbers) - chance

    low, high = _bracket(excess, _beta_quantile(weights, values, numbers, chance))
    return low if low == high else float(brentq(excess, low, high, xtol=_LOWEST_SHARE))


def _beta_quantile(weights: "Floats", values: "Floats", numbers: "Floats", chance: float) -> float:
    """The same quantile of as many equal weights as these are worth (Kish 1965): near it, and quick to find."""
    from scipy.special import betaincinv

    total = float(numbers @ weights)
    mean, worth = float(numbers @ (weights * values)) / total, total**2 / float(numbers @ weights**2)
    return float(betaincinv(max(mean * worth, _LEAST_MASS), max((1 - mean) * worth, _LEAST_MASS), chance))


def _bracket(excess: "Callable[[float], float]", near: float) -> tuple[float, float]:
    """Two shares around a change of the sign, close together if the guess is good.

    Twice one end where the sign is the same up to there: the quantile is nearer to 0 or 1 than _LOWEST_SHARE.
    """
    near = min(max(near, _LOWEST_SHARE), 1 - _LOWEST_SHARE)
    step, rises = _FIRST_STEP * near * (1 - near), excess(near) < 0
    while True:
        other = min(near + step, 1 - _LOWEST_SHARE) if rises else max(near - step, _LOWEST_SHARE)
        if (excess(other) < 0) != rises:
            return min(near, other), max(near, other)
        if other in (_LOWEST_SHARE, 1 - _LOWEST_SHARE):
            return other, other
        near, step = other, 4 * step


def _probability_below_zero(scales: "Floats", numbers: "Floats") -> float:
    """The chance that a sum of exponentials, so many of each scale, is below zero."""
    import numpy as np

    mean, spread = float(numbers @ scales), float(np.sqrt(numbers @ scales**2))
    if abs(mean) > _CERTAIN_SIGN_IN_STD * spread:
        return float(mean < 0)
    relevant = (numbers > 0) & (scales != 0)
    scales, numbers = scales[relevant], numbers[relevant]
    for sign in (1, -1):
        if numbers[sign * scales > 0].tolist() == [1]:
            below = _probability_that_one_is_less(sign * scales, numbers)
            return below if sign > 0 else 1 - below
    if len(scales) == 2 and scales.min() < 0 < scales.max():
        return _probability_that_positive_is_less(scales, numbers)
    far = abs(mean) + max(_PERIOD_IN_STD * spread, _PERIOD_IN_MAX_SCALE * float(np.abs(scales).max()))
    step = 2 * np.pi / far
    ends = 1.25 ** np.arange(max(1.0, np.log(_MAX_EVEN_STEPS * step * spread) / np.log(1.25) + 1)) / spread
    enough = np.log1p(np.outer(ends, scales) ** 2) @ numbers >= _NEGLIGIBLE_DECAY
    if not enough[-1]:
        return _log_time_quadrature(scales, numbers, spread)
    places = np.arange(0.5, ends[enough.argmax()] / step + 1)
    return float(0.5 - np.sum(_integrand(step * places, scales, numbers) / places) / np.pi)


def _probability_that_one_is_less(scales: "Floats", numbers: "Floats") -> float:
    """The same in closed form where a single exponential is positive: it exceeds x by exp(-x / scale)."""
    import numpy as np

    others = scales < 0
    return float(-np.expm1(-np.log1p(-scales[others] / scales.max()) @ numbers[others]))


def _probability_that_positive_is_less(scales: "Floats", numbers: "Floats") -> float:
    """The same of two gamma masses of unlike sign, whose shares of their sum are beta distributed."""
    from scipy.special import betainc

    (negative, below), (positive, above) = sorted(zip(scales.tolist(), numbers.tolist(), strict=True))
    return float(betainc(above, below, -negative / (positive - negative)))


def _log_time_quadrature(scales: "Floats", numbers: "Floats", spread: float) -> float:
    """The same for a few labels of unlike weights, whose sum has a long tail (Gil-Pelaez 1951, steps of log time).

    A look at whole units of log time says where the integrand ends and how fast its phase turns before it is faint.
    """
    import numpy as np

    units = np.arange(_LOG_TIME_START, _LOG_TIME_END + np.log(spread / np.abs(scales).min()))
    reach = np.outer(np.exp(units) / spread, scales)
    decay, turning = np.log1p(reach**2) @ numbers, np.abs((reach / (1 + reach**2)) @ numbers)
    width = float(np.clip(_MAX_PHASE_STEP / turning[decay < _SMALL_DECAY].max(), _MIN_STEP_WIDTH, _MAX_STEP_WIDTH))
    logarithms = np.arange(_LOG_TIME_START, float(units[decay < _NEGLIGIBLE_DECAY].max()) + 1, width)
    before = float(numbers @ scales) / spread * np.exp(_LOG_TIME_START - width / 2)
    total = before + width * np.sum(_integrand(np.exp(logarithms) / spread, scales, numbers))
    return float(0.5 - total / np.pi)


def _integrand(times: "Floats", scales: "Floats", numbers: "Floats") -> "Floats":
    """The imaginary part of the sum's characteristic function."""
    import numpy as np

    reach = np.outer(times, scales)
    height: Floats = np.exp(-0.5 * np.log1p(reach**2) @ numbers) * np.sin(np.arctan(reach) @ numbers)
    return height
