"""Gaffke's quantile of a weighted mean, by numeric integration of a sum of exponentials.

Gaffke (2005); Learned-Miller and Thomas (2020). The mean's distribution is that of a weighted sum of
exponential masses, whose sign follows from its characteristic function (Gil-Pelaez 1951; Davies 1973 for the steps).
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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


def gaffke_quantile(cells: list[tuple[float, float, int]], chance: float) -> float:
    """The quantile of the weighted mean of (weight, value, how many) when each has an exponential mass."""
    import numpy as np
    from scipy.optimize import brentq

    weights, values, numbers = (np.array(column, dtype=float) for column in zip(*cells, strict=True))

    def excess(share: float) -> float:
        return _probability_below_zero(weights * (values - share), numbers) - chance

    return float(brentq(excess, 1e-12, 1 - 1e-12, xtol=1e-9))


def _probability_below_zero(scales: "Floats", numbers: "Floats") -> float:
    """The chance that a sum of exponentials, so many of each scale, is below zero."""
    import numpy as np

    mean, spread = float(numbers @ scales), float(np.sqrt(numbers @ scales**2))
    if abs(mean) > _CERTAIN_SIGN_IN_STD * spread:
        return float(mean < 0)
    relevant = (numbers > 0) & (scales != 0)
    scales, numbers = scales[relevant], numbers[relevant]
    far = abs(mean) + max(_PERIOD_IN_STD * spread, _PERIOD_IN_MAX_SCALE * float(np.abs(scales).max()))
    step, end = 2 * np.pi / far, 1 / spread
    while np.log1p((end * scales) ** 2) @ numbers < _NEGLIGIBLE_DECAY:
        end *= 1.25
        if end > _MAX_EVEN_STEPS * step:
            return _log_time_quadrature(scales, numbers, spread)
    places = np.arange(0.5, end / step + 1)
    return float(0.5 - np.sum(_integrand(step * places, scales, numbers) / places) / np.pi)


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
