"""The decision whether answers take too long, from counted latencies; it knows no clock and remembers nothing."""

from dataclasses import replace
from typing import Final

from monitors.decisions.finding import Finding, found, nothing_answered, state_of, still_needed, verdict
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import amount, counted, milliseconds
from monitors.statistics.intervals import rank_limits
from monitors.windows.window import Baseline, HostLatency
from monitors.windows.window_counts import Bins, Tally, bin_limits, bin_of_rank

LATENCY_QUANTILE = 0.95
MIN_BASELINE_CALLS = 200
FLOOR_MS: Final = 1.0
"""Answers that take no longer are fast enough, however much faster they were: 0.3 ms after 0.1 ms harms nobody."""


def latency_ratio(rule: Rule, tally: Tally, baseline: Baseline) -> tuple[Finding, ...]:
    """The host class whose 95th percentile is most surely too high against its own baseline.

    Every class of hosts has a chance to be wrong, so they share what the rule allows (Bonferroni).
    """
    hosts = {host: bins for host, bins in tally.latency.items() if bins}
    if not hosts:
        return (found(rule, tally, "no-data", 0, nothing_answered(tally), needed=rule.min_samples),)
    shared = rule.model_copy(update={"confidence": 1 - (1 - rule.confidence) / len(hosts)})
    each = [_one_host(shared, tally, bins, baseline.latency_of(host)) for host, bins in sorted(hosts.items())]
    return (max(each, key=lambda finding: (finding.state == "breach", finding.low or 0.0, finding.value or 0.0)),)


def _one_host(rule: Rule, tally: Tally, bins: Bins, reference: HostLatency | None) -> Finding:
    total = sum(bins.values())
    p95 = _middle(bins, max(1, round(LATENCY_QUANTILE * total)))
    if reference is None or reference.calls < MIN_BASELINE_CALLS:
        calls = counted(reference.calls if reference else 0, "call")
        sentence = (
            f"95 % of answers took at most {milliseconds(p95)}, but the baseline rests on {calls}; it needs "
            f"{MIN_BASELINE_CALLS}."
        )
        return found(rule, tally, "insufficient", total, sentence)
    lowest, highest = rank_limits(total, LATENCY_QUANTILE, rule.confidence)
    low = None if lowest is None else bin_limits(bin_of_rank(bins, lowest))[0] / reference.p95_ms
    high = None if highest is None else bin_limits(bin_of_rank(bins, highest))[1] / reference.p95_ms
    ratio = p95 / reference.p95_ms
    state = state_of(rule, total, ratio, low)
    fast = p95 <= rule.floor_ms and state != "insufficient"
    if fast or (state == "breach" and low is not None and low * reference.p95_ms <= rule.floor_ms):
        state = "ok" if fast else "suspect"
    needed = still_needed(rule, total, state)
    last = verdict(rule, state, low, needed)
    if rule.is_beyond(ratio, rule.threshold) and state == "ok":
        last = (
            f"The rule allows {amount(rule.metric, rule.threshold)}, and whatever takes at most {rule.floor_ms:g} ms."
        )
    sentence = (
        f"95 % of {counted(total, 'answer')} took at most {milliseconds(p95)}, {ratio:.2f} times the "
        f"{milliseconds(reference.p95_ms)} measured at promotion. {last}"
    )
    made = found(rule, tally, state, total, sentence, ratio, low, high, reference.p95_ms, needed)
    return replace(made, clear=True) if fast else made


def _middle(bins: Bins, rank: int) -> float:
    """The geometric middle of the bin of a rank, at most 1 % off."""
    low, high = bin_limits(bin_of_rank(bins, rank))
    return (low * high) ** 0.5 if low else high
