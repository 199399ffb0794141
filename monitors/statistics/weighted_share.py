"""The share of wrong answers, from labels drawn with known chances, and means; it knows no clock and no plan.

A label drawn with chance pi stands for 1/pi answers. Each limit holds by itself with the stated confidence, as in
`intervals`. The limits are Gaffke's (2005; Learned-Miller and Thomas 2020) for the mean of `weight * (wrong - share)`:
quantiles of the weighted mean under random exponential masses on the labels, where one label more, of the heaviest
weight, is supposed to be right (lower limit) or wrong (upper limit). With equal weights they are Clopper and Pearson's.
That they hold is proved for equal weights, and for others conjectured and found in every distribution tried (see the
tests). Bets on the same mean (Waudby-Smith and Ramdas 2024) are proved and 20 to 60 % wider.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING, Final

from monitors.errors import WindowError
from monitors.statistics.intervals import clopper_pearson

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


@dataclass(frozen=True)
class WeightedCount:
    """How many labels share their weight, and how many of them are wrong."""

    weight: float
    n: int
    wrong: int

    def __post_init__(self) -> None:
        if not (self.weight > 0 and 0 <= self.wrong <= self.n):
            raise WindowError(f"{self.wrong} wrong of {self.n} labels of weight {self.weight} cannot be; count again")


@dataclass(frozen=True)
class Estimate:
    """A share with its limits; `n` labels made it."""

    value: float
    low: float
    high: float
    n: int


def weighted_error_share(counted: Iterable[WeightedCount], confidence: float) -> Estimate:
    """The share of all answers that is wrong (Hájek's estimate), each limit with that confidence.

    Raises WindowError without labels.
    """
    cells = [cell for cell in counted if cell.n]
    total, wrong = sum(cell.n for cell in cells), sum(cell.wrong for cell in cells)
    if not total:
        raise WindowError("there is no label to estimate from; wait for the first")
    if len({cell.weight for cell in cells}) == 1:
        return Estimate(wrong / total, *clopper_pearson(wrong, total, confidence), total)
    value = sum(cell.weight * cell.wrong for cell in cells) / sum(cell.weight * cell.n for cell in cells)
    heaviest = max(cell.weight for cell in cells)
    low = _error_share_quantile([*cells, WeightedCount(heaviest, 1, 0)], 1 - confidence) if wrong else 0.0
    high = _error_share_quantile([*cells, WeightedCount(heaviest, 1, 1)], confidence) if wrong < total else 1.0
    return Estimate(value, low, high, total)


def difference_limits(share: Estimate, other: Estimate) -> tuple[float, float]:
    """Limits of `share - other` by Newcombe's square-and-add (1998), from the limits of each."""
    between = share.value - other.value
    low = between - hypot(share.value - share.low, other.high - other.value)
    return low, between + hypot(share.high - share.value, other.value - other.low)


def bounded_mean(counts: Mapping[float, int], confidence: float) -> Estimate:
    """The mean of values from 0 to 1, given how many there are of each; each limit with that confidence.

    Raises WindowError without values.
    """
    total = sum(counts.values())
    if not total or min(counts) < 0 or max(counts) > 1:
        raise WindowError(f"{total} values of {sorted(counts)[:3]} have no mean from 0 to 1; give at least one")
    value = sum(each * n for each, n in counts.items()) / total
    low = (
        _gaffke_quantile([(1.0, each, n) for each, n in [*counts.items(), (0.0, 1)]], 1 - confidence) if value else 0.0
    )
    high = (
        _gaffke_quantile([(1.0, each, n) for each, n in [*counts.items(), (1.0, 1)]], confidence) if value < 1 else 1.0
    )
    return Estimate(value, min(low, value), max(high, value), total)


def _error_share_quantile(cells: list[WeightedCount], chance: float) -> float:
    """The quantile of the weighted share of wrong labels when each label has an exponential mass."""
    split = [(cell.weight, value, n) for cell in cells for value, n in ((1.0, cell.wrong), (0.0, cell.n - cell.wrong))]
    return _gaffke_quantile(split, chance)


def _gaffke_quantile(cells: list[tuple[float, float, int]], chance: float) -> float:
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
    kept = (numbers > 0) & (scales != 0)
    scales, numbers = scales[kept], numbers[kept]
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
