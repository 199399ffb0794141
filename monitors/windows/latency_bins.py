"""Latencies counted in bins that grow by 2 %, and the quantiles read from them."""

import math
from collections.abc import Mapping
from typing import Final

from monitors.errors import WindowError

MIN_LATENCY_MS: Final = 0.01
BIN_GROWTH: Final = 1.02
"""Latencies are counted in bins that grow by 2 %: a quantile read from them is off by at most 1 %."""
_MAX_BIN: Final = 1_200

BinCounts = Mapping[int, int]


def latency_bin(milliseconds: float) -> int:
    """The bin of a latency; raises WindowError for one that cannot be."""
    if not (math.isfinite(milliseconds) and milliseconds >= 0):
        raise WindowError(f"latency {milliseconds} ms cannot be; check the row")
    if milliseconds <= MIN_LATENCY_MS:
        return 0
    return min(_MAX_BIN, math.ceil(math.log(milliseconds / MIN_LATENCY_MS) / math.log(BIN_GROWTH) - 1e-9))


def latency_bin_limits(place: int) -> tuple[float, float]:
    """The milliseconds a bin holds: above the first, up to the second."""
    return (MIN_LATENCY_MS * BIN_GROWTH ** (place - 1) if place else 0.0), MIN_LATENCY_MS * BIN_GROWTH**place


def bin_of_rank(bins: BinCounts, rank: int) -> int:
    """The bin of the value of that rank, 1 for the smallest."""
    passed = 0
    for place in sorted(bins):
        passed += bins[place]
        if passed >= rank:
            return place
    raise WindowError(f"rank {rank} is not among {passed} values; ranks go from 1 to their number")
