"""Confidence limits for shares, means, differences and quantiles, also of labels that were drawn by chance.

In every interval here each end holds by itself with the stated confidence: with 0.99, the true value lies
below `low` in at most 1 of 100 samples and above `high` in at most 1 of 100. So "low is above the threshold"
is a decision whose false-alarm rate is at most 1 - confidence. That is why the limits of a share are exact
(Clopper and Pearson 1934), and why differences are built from them: near 100 % accuracy, differences built
from Wilson's limits gave up to 2.7 % false alarms where 1 % was promised.

A label drawn with chance pi stands for 1/pi predictions. The limits of a weighted share are Gaffke's (2005;
Learned-Miller and Thomas 2020) for the mean of `weight * (wrong - share)`: quantiles of the weighted mean under random
exponential masses on the labels, where one label more, of the heaviest weight, is supposed to be right (lower limit) or
wrong (upper limit). For labels that are right or wrong and weigh alike they are Clopper and Pearson's, which are
proved. For other weights, and for means of values between 0 and 1 (`bounded_mean`, which the null of `expected_drop`
rests on), that they hold is a conjecture that held in every distribution tried (see the tests). Bets on the same mean
(Waudby-Smith and Ramdas 2024) are proved and 20 to 60 % wider.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import hypot

from monitors.errors import WindowError
from monitors.statistics.gaffke import gaffke_quantile

_MAX_LABELS = 10_000_000


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


def clopper_pearson(successes: float, total: float, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's limits of a share; (0, 1) when nothing was seen."""
    from scipy.special import betaincinv

    if not 0 <= successes <= total:
        raise WindowError(f"{successes} of {total} is not a share; pass counts with 0 <= successes <= total")
    tail = 1 - confidence
    low = betaincinv(successes, total - successes + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, total - successes, confidence) if successes < total else 1.0
    return float(low), float(high)


def newcombe_difference(k1: float, n1: float, k0: float, n0: float, confidence: float) -> tuple[float, float]:
    """Limits of k1/n1 - k0/n0 by Newcombe's square-and-add (1998), from the exact limits of each share."""
    share1, share0 = k1 / n1, k0 / n0
    low1, high1 = clopper_pearson(k1, n1, confidence)
    low0, high0 = clopper_pearson(k0, n0, confidence)
    difference = share1 - share0
    return difference - hypot(share1 - low1, high0 - share0), difference + hypot(high1 - share1, share0 - low0)


def quantile_rank_limits(n: int, q: float, confidence: float) -> tuple[int | None, int | None]:
    """The ranks (1 is the smallest of n values) that enclose the q-quantile; None where n is too small.

    It assumes independent values and no distribution: the count of values below the quantile is binomial. Each limit
    holds with the confidence; the cost grows with the logarithm of n.
    """
    from scipy.special import bdtr

    def first(holds: Callable[[float], bool]) -> int:
        """The smallest count from 0 to n whose P(at most so many values under the quantile) holds."""
        low, high = 0, n
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(float(bdtr(middle, n, q))) else (middle + 1, high)
        return low

    lower = first(lambda below: 1 - below < confidence)
    upper = first(lambda below: below >= confidence) + 1
    return (lower if lower >= 1 else None), (upper if upper <= n else None)


def binomial_tail(successes: int, total: int, share: float) -> float:
    """The chance of at least this many successes when the true share is `share`, an exact p-value."""
    from scipy.special import betainc

    return float(betainc(successes, total - successes + 1, share)) if successes > 0 else 1.0


def labels_to_prove_drop(
    accuracy: float, baseline_correct: int, baseline_total: int, threshold: float, confidence: float
) -> int | None:
    """How many labels, at this accuracy, prove a drop above the threshold; None when no number can."""

    def proves(labels: int) -> bool:
        errors = (1 - accuracy) * labels
        baseline_errors = baseline_total - baseline_correct
        return newcombe_difference(errors, labels, baseline_errors, baseline_total, confidence)[0] > threshold

    return smallest_sufficient(proves)


def smallest_sufficient(is_enough: Callable[[int], bool]) -> int | None:
    """The fewest labels that are enough, where more of them always are; None where ten million are not."""
    enough = 1
    while not is_enough(enough):
        enough *= 2
        if enough > _MAX_LABELS:
            return None
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if is_enough(middle) else (middle, enough)
    return enough


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

    The limits are Gaffke's: proved where all values are 0 or 1, and a conjecture for others. Raises WindowError without
    values.
    """
    return weighted_bounded_mean([(1.0, outcome, n) for outcome, n in counts.items()], confidence)


def weighted_bounded_mean(cells: Iterable[tuple[float, float, int]], confidence: float) -> Estimate:
    """The same of (weight, value, how many): Hájek's mean, with one value more of the heaviest weight in its limits."""
    counted = [(weight, value, n) for weight, value, n in cells if n]
    total, heaviest = sum(n for _, _, n in counted), max((weight for weight, _, _ in counted), default=1.0)
    if not total or not all(0 <= value <= 1 for _, value, _ in counted):
        values = sorted(value for _, value, _ in counted)[:3]
        raise WindowError(f"{total} values of {values} have no mean from 0 to 1; give at least one")
    mean = sum(weight * value * n for weight, value, n in counted) / sum(weight * n for weight, _, n in counted)
    low = gaffke_quantile([*counted, (heaviest, 0.0, 1)], 1 - confidence) if mean else 0.0
    high = gaffke_quantile([*counted, (heaviest, 1.0, 1)], confidence) if mean < 1 else 1.0
    return Estimate(mean, min(low, mean), max(high, mean), total)


def _error_share_quantile(cells: list[WeightedCount], chance: float) -> float:
    """The quantile of the weighted share of wrong labels when each label has an exponential mass."""
    split = [(cell.weight, value, n) for cell in cells for value, n in ((1.0, cell.wrong), (0.0, cell.n - cell.wrong))]
    return gaffke_quantile(split, chance)
