"""Decides whether a new version is surely slower than the one before was, from counted latencies."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitors.decisions.latency_ratio import FLOOR_MS, LATENCY_QUANTILE, MIN_BASELINE_CALLS
from monitors.errors import WindowError
from monitors.rules.quantities import count_text, milliseconds_text
from monitors.statistics.intervals import quantile_rank_limits
from monitors.windows.latency_bins import BinCounts, bin_of_rank, latency_bin_limits
from monitors.windows.window import HostLatency

_BASELINE_CONFIDENCE = 0.99
"""How sure it must be that the version before was no slower than it is taken for."""


@dataclass(frozen=True)
class LatencyRegression:
    """On one class of hosts: what the new version's 95th percentile surely is, and what the one before took."""

    host: str
    n: int
    p95_lower_ms: float
    limit_ms: float
    max_ratio: float

    def sentence(self, new: int, before: int) -> str:
        """The finding in words, for people."""
        return (
            f"The 95th percentile of {count_text(self.n, 'answer')} of version {new} on {self.host} is surely at least "
            f"{milliseconds_text(self.p95_lower_ms)}, {self.p95_lower_ms / self.limit_ms:.1f} times the "
            f"{milliseconds_text(self.limit_ms)} that version {before} took there; {self.max_ratio:g} "
            "times are allowed."
        )


def latency_limits(baselines: Mapping[str, HostLatency], latencies: Mapping[str, BinCounts]) -> dict[str, float]:
    """The milliseconds each class of hosts may be held to: what a version took in service, and no less than measured.

    In service means clients' own pictures, which may be larger than the one a baseline is measured with: that is no
    fault of the version that comes next. The upper confidence limit counts.
    """
    limits = {host: latency.p95_ms for host, latency in baselines.items() if latency.calls >= MIN_BASELINE_CALLS}
    for host, bins in latencies.items():
        _, highest = (
            quantile_rank_limits(sum(bins.values()), LATENCY_QUANTILE, _BASELINE_CONFIDENCE) if bins else (None, None)
        )
        if highest is not None:
            limits[host] = max(limits.get(host, 0.0), latency_bin_limits(bin_of_rank(bins, highest))[1])
    return limits


def find_latency_regression(
    latencies: Mapping[str, BinCounts],
    limits: Mapping[str, float],
    max_ratio: float,
    min_samples: int,
    level: float,
    floor_ms: float = FLOOR_MS,
) -> LatencyRegression | None:
    """The class of hosts on which answers surely take more than `allowed` times as long as before; None where none is.

    What takes at most `floor_ms` is fast enough, whatever it took before.
    Wrong with a chance of at most `level` over all classes of hosts, as far as latencies are independent of each other.
    """
    if not 0 < level < 1:
        raise WindowError(f"a chance of {level} to be wrong cannot be kept; choose one between 0 and 1")
    hosts = {host: bins for host, bins in latencies.items() if host in limits and sum(bins.values()) >= min_samples}
    regressions = []
    for host, bins in sorted(hosts.items()):
        total = sum(bins.values())
        lowest, _ = quantile_rank_limits(total, LATENCY_QUANTILE, 1 - level / len(hosts))
        at_least = 0.0 if lowest is None else latency_bin_limits(bin_of_rank(bins, lowest))[0]
        if at_least > max(max_ratio * limits[host], floor_ms):
            regressions.append(LatencyRegression(host, total, at_least, limits[host], max_ratio))
    return max(regressions, key=lambda regression: regression.p95_lower_ms / regression.limit_ms, default=None)
