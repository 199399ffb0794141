"""Estimates the share of wrong predictions from labels drawn with known chances, and means, with confidence limits.

A label drawn with chance pi stands for 1/pi predictions. Each limit holds by itself with the stated confidence, as in
`intervals`. The limits are Gaffke's (2005; Learned-Miller and Thomas 2020) for the mean of `weight * (wrong - share)`:
quantiles of the weighted mean under random exponential masses on the labels, where one label more, of the heaviest
weight, is supposed to be right (lower limit) or wrong (upper limit). With equal weights they are Clopper and Pearson's.
That they hold is proved for equal weights, and for others conjectured and found in every distribution tried (see the
tests). Bets on the same mean (Waudby-Smith and Ramdas 2024) are proved and 20 to 60 % wider.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import hypot

from monitors.errors import WindowError
from monitors.statistics.gaffke import gaffke_quantile
from monitors.statistics.intervals import clopper_pearson


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
    """The share of all predictions that is wrong (Hájek's estimate), each limit with that confidence.

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
    low = gaffke_quantile([(1.0, each, n) for each, n in [*counts.items(), (0.0, 1)]], 1 - confidence) if value else 0.0
    high = (
        gaffke_quantile([(1.0, each, n) for each, n in [*counts.items(), (1.0, 1)]], confidence) if value < 1 else 1.0
    )
    return Estimate(value, min(low, value), max(high, value), total)


def _error_share_quantile(cells: list[WeightedCount], chance: float) -> float:
    """The quantile of the weighted share of wrong labels when each label has an exponential mass."""
    split = [(cell.weight, value, n) for cell in cells for value, n in ((1.0, cell.wrong), (0.0, cell.n - cell.wrong))]
    return gaffke_quantile(split, chance)
