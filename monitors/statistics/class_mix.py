"""Tests whether two samples of predictions come from the same mix of classes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from monitors.errors import WindowError
from monitors.statistics.permutation_test import permutation_p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ClassCounts = Mapping[str, int]


def total_variation(first: ClassCounts, newest: ClassCounts) -> float:
    """The share of answers that would have to name another class to make the two mixes alike."""
    before, now = sum(first.values()), sum(newest.values())
    if not before or not now:
        raise WindowError(f"mixes of {before} and {now} answers cannot be compared; wait for the first of both")
    return sum(abs(first.get(key, 0) / before - newest.get(key, 0) / now) for key in {*first, *newest}) / 2


def class_mix_p_value(first: ClassCounts, newest: ClassCounts, level: float, seed: int = 0) -> float:
    """The p-value that both samples have one mix: Pearson's statistic among tables of the same margins.

    Exact up to the number of draws, also where classes are rare; `level` is the least one to be proved.
    """
    import numpy as np

    names = sorted({*first, *newest})
    before = np.array([first.get(name, 0) for name in names])
    both = before + np.array([newest.get(name, 0) for name in names])
    both, before = both[both > 0], before[both > 0]
    chosen, generator = int(before.sum()), np.random.default_rng(seed)
    expected = chosen * both / both.sum()

    def statistic(drawn: "NDArray[np.int64]") -> "NDArray[np.float64]":
        distances: NDArray[np.float64] = ((drawn - expected) ** 2 / both).sum(axis=-1)
        return distances

    def draw(times: int) -> "NDArray[np.float64]":
        return statistic(generator.multivariate_hypergeometric(both, chosen, size=times, method="marginals"))

    return permutation_p_value(float(statistic(before)), draw, level)
