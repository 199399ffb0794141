"""Compares two samples that were counted by cell: how far apart they lie, and how likely luck alone puts them so.

The p-value is exact in the sense that it is never too small for independent observations. Each cell against the others,
and in ordered cells each cut into lower and higher ones, is a two by two table, whose count is hypergeometric given its
margins (Fisher 1935); the smallest p-value counts as often as there are tables (Bonferroni), on both sides. So it
finds a value that has become common as well as values that have moved, costs the same for samples of any size, and
reaches levels that permutations could not.

The tail of a hypergeometric distribution beyond its mode is bounded by its first term and the ratio of the second to
it: ratios of later terms are smaller, so the geometric series is larger than the tail.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from monitors.errors import WindowError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MEAN_DEVIATION: Final = 0.7978845608028654
"""The mean absolute value of a standard normal number, the root of 2 / pi."""


def distance_beyond_luck(reference: Sequence[int], newest: Sequence[int]) -> float:
    """The share of values that would have to lie in another cell to make the samples alike, beyond what luck makes.

    From their total variation is taken off, as a square, what two samples of one distribution differ by: the cells'
    deviations taken as normal and not correlated. It serves to be held against a threshold, not as a test.
    """
    import numpy as np

    first, second = _samples(reference, newest)
    n, m = first.sum(), second.sum()
    variation = np.abs(first / n - second / m).sum() / 2
    shares = (first + second) / (n + m)
    variances = shares * (1 - shares) * (1 / n + 1 / m)
    means = _MEAN_DEVIATION * np.sqrt(variances)
    luck = (means.sum() ** 2 + (variances - means**2).sum()) / 4
    return float(max(0.0, variation**2 - luck) ** 0.5)


def cells_p_value(reference: Sequence[int], newest: Sequence[int], in_order: Sequence[int] = ()) -> float:
    """The p-value that both samples come from one distribution; `in_order` names the cells that are ordered."""
    import numpy as np

    first, second = _samples(reference, newest)
    n, m = first.sum(), second.sum()
    both = first + second
    counts, totals, sizes, others = [second], [both], [np.full(len(both), m)], [np.full(len(both), n)]
    if len(in_order) > 1:
        ordered = list(in_order)
        low, high = second[ordered], first[ordered]
        counts.append(np.cumsum(low)[:-1])
        totals.append(np.cumsum(both[ordered])[:-1])
        sizes.append(np.full(len(ordered) - 1, low.sum()))
        others.append(np.full(len(ordered) - 1, high.sum()))
    tables = [np.concatenate(parts) for parts in (counts, totals, sizes, others)]
    decides = (tables[1] > 0) & (tables[1] < tables[2] + tables[3]) & (tables[2] > 0) & (tables[3] > 0)
    if not decides.any():
        return 1.0
    tails = _two_sided(*(part[decides] for part in tables))
    return float(min(1.0, len(tails) * tails.min()))


def _two_sided(count: "Floats", total: "Floats", size: "Floats", other: "Floats") -> "Floats":
    """Twice the smaller tail of each count of a kind in a sample of `size`, `total` being in both samples."""
    import numpy as np

    upper = _upper_tail(count, total, size, other)
    lower = _upper_tail(total - count, total, other, size)
    both: Floats = np.minimum(1.0, 2 * np.minimum(upper, lower))
    return both


def _upper_tail(count: "Floats", total: "Floats", size: "Floats", other: "Floats") -> "Floats":
    """No less than the chance that at least `count` of the `total` fall into the sample of `size`, not of `other`."""
    import numpy as np
    from scipy.special import gammaln

    def choose(n: "Floats", k: "Floats") -> "Floats":
        logarithm: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        return logarithm

    first = np.exp(choose(size, count) + choose(other, total - count) - choose(size + other, total))
    ratio = (total - count) * (size - count) / ((count + 1) * (other - total + count + 1))
    bound: Floats = np.where(ratio < 1, first / np.maximum(1 - ratio, 1e-300), 1.0)
    tail: Floats = np.minimum(1.0, bound)
    return tail


def _samples(reference: Sequence[int], newest: Sequence[int]) -> "tuple[Floats, Floats]":
    import numpy as np

    first, second = np.array(reference, dtype=np.float64), np.array(newest, dtype=np.float64)
    if len(first) != len(second) or not first.sum() or not second.sum():
        raise WindowError(
            f"samples of {first.sum():.0f} and {second.sum():.0f} values cannot be compared; wait for the first of both"
        )
    return first, second
