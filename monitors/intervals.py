"""Confidence limits for shares, differences and quantiles; knows no rules and no windows.

In every interval here each end holds by itself with the stated confidence: with 0.99, the true value lies
below `low` in at most 1 of 100 samples and above `high` in at most 1 of 100. So "low is above the threshold"
is a decision whose false-alarm rate is at most 1 - confidence. That is why the limits of a share are exact
(Clopper and Pearson 1934), and why differences are built from them: near 100 % accuracy, differences built
from Wilson's limits gave up to 2.7 % false alarms where 1 % was promised.
"""

from collections.abc import Sequence
from math import hypot

from monitors.errors import WindowError

_MOST_LABELS = 10_000_000


def exact(successes: float, total: float, confidence: float) -> tuple[float, float]:
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
    low1, high1 = exact(k1, n1, confidence)
    low0, high0 = exact(k0, n0, confidence)
    difference = share1 - share0
    return difference - hypot(share1 - low1, high0 - share0), difference + hypot(high1 - share1, share0 - low0)


def quantile_interval(ordered: Sequence[float], q: float, confidence: float) -> tuple[float | None, float | None]:
    """Two values of an ordered sample that enclose the q-quantile; None where the sample is too small.

    It assumes independent values and no distribution: the count of values below the quantile is binomial.
    """
    import numpy as np
    from scipy.special import bdtr

    if not ordered:
        return None, None
    below = bdtr(np.arange(len(ordered), dtype=float), len(ordered), q)  # P(at most j values under the quantile)
    last_safe = int(np.sum(1 - below >= confidence))
    first_safe = int(np.searchsorted(below, confidence)) + 1
    low = float(ordered[last_safe - 1]) if last_safe >= 1 else None
    high = float(ordered[first_safe - 1]) if first_safe <= len(ordered) else None
    return low, high


def binomial_tail(successes: int, total: int, share: float) -> float:
    """The chance of at least this many successes when the true share is `share`, an exact p-value."""
    from scipy.special import betainc

    return float(betainc(successes, total - successes + 1, share)) if successes > 0 else 1.0


def quantile(ordered: Sequence[float], q: float) -> float:
    """The q-quantile of an ordered, non-empty sample, linear between neighbours."""
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def labels_needed(
    accuracy: float, baseline_correct: int, baseline_total: int, threshold: float, confidence: float
) -> int | None:
    """How many labels, at this accuracy, prove a drop above the threshold; None when no number can."""

    def proves(labels: int) -> bool:
        errors = (1 - accuracy) * labels
        baseline_errors = baseline_total - baseline_correct
        return newcombe_difference(errors, labels, baseline_errors, baseline_total, confidence)[0] > threshold

    enough = 1
    while not proves(enough):
        enough *= 2
        if enough > _MOST_LABELS:
            return None
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if proves(middle) else (middle, enough)
    return enough
