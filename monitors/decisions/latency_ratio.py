"""Decides whether predictions take too long, from counted latencies against those measured at promotion."""

from dataclasses import replace
from typing import Final

from monitors.decisions.finding import (
    Detectors,
    Finding,
    Findings,
    make_finding,
    no_predictions_sentence,
    samples_missing,
    state_by_window,
    verdict_sentence,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, metric_value_text, milliseconds_text
from monitors.statistics.intervals import quantile_rank_limits
from monitors.windows.latency_bins import BinCounts, bin_of_rank, latency_bin_limits
from monitors.windows.window import Baseline, HostLatency
from monitors.windows.window_counts import WindowCounts

LATENCY_QUANTILE = 0.95
MIN_BASELINE_CALLS = 200
FLOOR_MS: Final = 1.0
"""Answers that take no longer are fast enough, however much faster they were: 0.3 ms after 0.1 ms harms nobody."""


def latency_ratio(rule: Rule, tally: WindowCounts, baseline: Baseline, _detectors: Detectors) -> Findings:
    """The host class whose 95th percentile is most surely too high against its own baseline.

    Every class of hosts has a chance to be wrong, so they share what the rule allows (Bonferroni).
    """
    hosts = {host: bins for host, bins in tally.latency.items() if bins}
    if not hosts:
        return (make_finding(rule, tally, "no-data", 0, no_predictions_sentence(tally), needed=rule.min_samples),)
    shared = rule.model_copy(update={"confidence": 1 - (1 - rule.confidence) / len(hosts)})
    findings = [_host_finding(shared, tally, bins, baseline.latency_of(host)) for host, bins in sorted(hosts.items())]
    return (max(findings, key=lambda finding: (finding.state == "breach", finding.low or 0.0, finding.value or 0.0)),)


def _host_finding(rule: Rule, tally: WindowCounts, bins: BinCounts, reference: HostLatency | None) -> Finding:
    total = sum(bins.values())
    p95 = _bin_midpoint(bins, max(1, round(LATENCY_QUANTILE * total)))
    if reference is None or reference.calls < MIN_BASELINE_CALLS:
        calls = count_text(reference.calls if reference else 0, "call")
        sentence = (
            f"95 % of answers took at most {milliseconds_text(p95)}, but the baseline rests on {calls}; it needs "
            f"{MIN_BASELINE_CALLS}."
        )
        return make_finding(rule, tally, "insufficient", total, sentence)
    lowest, highest = quantile_rank_limits(total, LATENCY_QUANTILE, rule.confidence)
    low = None if lowest is None else latency_bin_limits(bin_of_rank(bins, lowest))[0] / reference.p95_ms
    high = None if highest is None else latency_bin_limits(bin_of_rank(bins, highest))[1] / reference.p95_ms
    ratio = p95 / reference.p95_ms
    state = state_by_window(rule, total, ratio, low)
    fast = p95 <= rule.floor_ms and state != "insufficient"
    if fast or (state == "breach" and low is not None and low * reference.p95_ms <= rule.floor_ms):
        state = "ok" if fast else "suspect"
    needed = samples_missing(rule, total, state)
    last = verdict_sentence(rule, state, low, needed)
    if rule.is_beyond(ratio, rule.threshold) and state == "ok":
        last = (
            f"The rule allows {metric_value_text(rule.metric, rule.threshold)}, and whatever takes "
            f"at most {rule.floor_ms:g} ms."
        )
    sentence = (
        f"95 % of {count_text(total, 'answer')} took at most {milliseconds_text(p95)}, {ratio:.2f} times the "
        f"{milliseconds_text(reference.p95_ms)} measured at promotion. {last}"
    )
    finding = make_finding(rule, tally, state, total, sentence, ratio, low, high, reference.p95_ms, needed)
    return replace(finding, clear=True) if fast else finding


def _bin_midpoint(bins: BinCounts, rank: int) -> float:
    """The geometric middle of the bin of a rank, at most 1 % off."""
    low, high = latency_bin_limits(bin_of_rank(bins, rank))
    return (low * high) ** 0.5 if low else high
