"""Whether a new version answers surely slower than the one before did, from counted latencies; it remembers nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitors.decisions.latency_ratio import FLOOR_MS, LATENCY_QUANTILE, MIN_BASELINE_CALLS
from monitors.errors import WindowError
from monitors.rules.formatting import counted, milliseconds
from monitors.statistics.intervals import rank_limits
from monitors.windows.window import HostLatency
from monitors.windows.window_counts import Bins, bin_limits, bin_of_rank

_SURE = 0.99
"""How sure it must be that the version before was no slower than it is taken for."""


@dataclass(frozen=True)
class Slower:
    """On one class of hosts: what the new version's 95th percentile surely is, and what the one before took."""

    host: str
    n: int
    at_least_ms: float
    before_ms: float
    allowed: float

    def sentence(self, new: int, before: int) -> str:
        """The finding in words, for people."""
        return (
            f"The 95th percentile of {counted(self.n, 'answer')} of version {new} on {self.host} is surely at least "
            f"{milliseconds(self.at_least_ms)}, {self.at_least_ms / self.before_ms:.1f} times the "
            f"{milliseconds(self.before_ms)} that version {before} took there; {self.allowed:g} times are allowed."
        )


def paces(baselines: Mapping[str, HostLatency], seen: Mapping[str, Bins]) -> dict[str, float]:
    """The milliseconds each class of hosts may be held to: what a version took in service, and no less than measured.

    In service means clients' own pictures, which may be larger than the one a baseline is measured with: that is no
    fault of the version that comes next. The upper confidence limit counts.
    """
    found = {host: each.p95_ms for host, each in baselines.items() if each.calls >= MIN_BASELINE_CALLS}
    for host, bins in seen.items():
        _, highest = rank_limits(sum(bins.values()), LATENCY_QUANTILE, _SURE) if bins else (None, None)
        if highest is not None:
            found[host] = max(found.get(host, 0.0), bin_limits(bin_of_rank(bins, highest))[1])
    return found


def slower(
    seen: Mapping[str, Bins],
    before: Mapping[str, float],
    allowed: float,
    least: int,
    level: float,
    floor_ms: float = FLOOR_MS,
) -> Slower | None:
    """The class of hosts on which answers surely take more than `allowed` times as long as before; None where none is.

    What takes at most `floor_ms` is fast enough, whatever it took before.
    Wrong with a chance of at most `level` over all classes of hosts, as far as latencies are independent of each other.
    """
    if not 0 < level < 1:
        raise WindowError(f"a chance of {level} to be wrong cannot be kept; choose one between 0 and 1")
    hosts = {host: bins for host, bins in seen.items() if host in before and sum(bins.values()) >= least}
    found = []
    for host, bins in sorted(hosts.items()):
        total = sum(bins.values())
        lowest, _ = rank_limits(total, LATENCY_QUANTILE, 1 - level / len(hosts))
        at_least = 0.0 if lowest is None else bin_limits(bin_of_rank(bins, lowest))[0]
        if at_least > max(allowed * before[host], floor_ms):
            found.append(Slower(host, total, at_least, before[host], allowed))
    return max(found, key=lambda each: each.at_least_ms / each.before_ms, default=None)
