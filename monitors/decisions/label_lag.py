"""Decides whether labels come too late, from the waits of predictions drawn for review."""

from monitors.decisions.finding import (
    Detectors,
    Findings,
    make_finding,
    samples_missing,
    state_by_window,
    verdict_sentence,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import approximate_duration_text, count_text
from monitors.statistics.intervals import quantile_rank_limits
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts


def label_lag(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """A quantile of the waits of answers drawn at least the threshold ago, a wait that goes on counted as it stands.

    Younger answers say nothing yet: they would make missing labels look quick. So every wait counted here is known to
    be over the threshold or not, and the lower limit (of ranks, exact for any distribution) is one of true waits.
    """
    waits = sorted(lag.seconds for lag in tally.lags)
    still = [lag.seconds for lag in tally.lags if lag.is_waiting]
    n, asked = len(waits), approximate_duration_text(rule.threshold)
    if not n:
        sentence = f"No answer of the window was drawn for review more than {asked} ago."
        return (make_finding(rule, tally, "no-data", 0, sentence, needed=rule.min_samples),)
    value = waits[min(n, max(1, round(rule.quantile * n))) - 1]
    lowest, highest = quantile_rank_limits(n, rule.quantile, rule.confidence)
    low = None if lowest is None else waits[lowest - 1]
    high = None if highest is None else waits[highest - 1]
    if high is not None and still and high >= min(still):
        high = None  # a wait that goes on has no upper limit
    state = state_by_window(rule, n, value, low)
    needed = samples_missing(rule, n, state)
    sentence = (
        f"Of {count_text(n, 'answer')} drawn for review more than {asked} ago, "
        f"{100 * (1 - rule.quantile):.3g} % waited "
        f"{approximate_duration_text(value)} or longer for their label; {len(still):,} still wait. "
        f"{verdict_sentence(rule, state, low, needed)}"
    )
    return (make_finding(rule, tally, state, n, sentence, value, low, high, None, needed),)
