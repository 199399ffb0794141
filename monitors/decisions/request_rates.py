"""Decides about prediction requests: how many fail, how many have unusable input, how many predictions are made."""

from collections.abc import Callable
from typing import Final

from monitors.decisions.finding import (
    Detectors,
    Findings,
    make_finding,
    samples_missing,
    state_by_window,
    verdict_sentence,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, metric_value_text, percent_text
from monitors.statistics.intervals import clopper_pearson
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts

INVALID_INPUT_STATUSES: Final = (413, 422)
"""The statuses of input that is over a limit or that cannot be used."""


def error_rate(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """The share of prediction requests that failed (5xx)."""
    return _request_share(rule, tally, lambda status: status >= 500, "failed on the server's side")


def schema_violations(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """The share of prediction requests that were refused as unusable (413, 422)."""
    refused = "were refused as input that cannot be used"
    return _request_share(rule, tally, lambda status: status in INVALID_INPUT_STATUSES, refused)


def _request_share(rule: Rule, tally: WindowCounts, is_bad: Callable[[int], bool], description: str) -> Findings:
    """The share of requests with a bad status.

    Exact limits (Clopper, Pearson 1934). They take requests for independent, which those of one outage are not.
    """
    total = sum(tally.requests.values())
    if not total:
        sentence = "No prediction request was counted in the window."
        return (make_finding(rule, tally, "no-data", 0, sentence, needed=rule.min_samples),)
    bad = sum(n for status, n in tally.requests.items() if is_bad(status))
    low, high = clopper_pearson(bad, total, rule.confidence)
    state = state_by_window(rule, total, bad / total, low)
    needed = samples_missing(rule, total, state)
    sentence = (
        f"{bad:,} of {count_text(total, 'prediction request')} {description}, "
        f"{percent_text(bad / total)}. "
        f"{verdict_sentence(rule, state, low, needed)}"
    )
    return (make_finding(rule, tally, state, total, sentence, bad / total, low, high, None, needed),)


def prediction_volume(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """How many answers the version gave: a count without luck, decided once it has served for the whole window."""
    n, allowed = tally.predictions, metric_value_text(rule.metric, rule.threshold)
    volume = f"Version {tally.version} gave {count_text(n, 'answer')} in the window"
    too_young = tally.serving_since is None or tally.serving_since > tally.start
    if too_young and rule.below is not None:
        sentence = f"{volume}, but has not served for the whole of it."
        return (make_finding(rule, tally, "insufficient", n, sentence),)
    broken = rule.is_beyond(n, rule.threshold)
    asked = f"the rule allows {'at most' if rule.above is not None else 'no fewer than'} {allowed}"
    return (
        make_finding(rule, tally, "breach" if broken else "ok", n, f"{volume}; {asked}.", float(n), float(n), float(n)),
    )
