"""The decisions about prediction requests: how many fail, how many cannot be used, how many answers; it sees no row."""

from collections.abc import Mapping
from typing import Final

from monitors.decisions.finding import Finding, make_finding, samples_missing, state_by_window, verdict_sentence
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import count_text, metric_value_text, percent_text
from monitors.statistics.intervals import clopper_pearson
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts

INVALID_INPUT_STATUSES: Final = (413, 422)
"""The statuses of input that is over a limit or that cannot be used."""
_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "error_rate": "failed on the server's side",
    "schema_violations": "were refused as input that cannot be used",
}


def failed_request_share(rule: Rule, tally: WindowCounts, _baseline: Baseline) -> tuple[Finding, ...]:
    """The share of prediction requests that failed (5xx), or that were refused as unusable (413, 422).

    Exact limits (Clopper, Pearson 1934). They take requests for independent, which those of one outage are not.
    """
    total = sum(tally.requests.values())
    if not total:
        sentence = "No prediction request was counted in the window."
        return (make_finding(rule, tally, "no-data", 0, sentence, needed=rule.min_samples),)
    bad = sum(n for status, n in tally.requests.items() if _is_failure(rule.metric, status))
    low, high = clopper_pearson(bad, total, rule.confidence)
    state = state_by_window(rule, total, bad / total, low)
    needed = samples_missing(rule, total, state)
    sentence = (
        f"{bad:,} of {count_text(total, 'prediction request')} {_DESCRIPTIONS[rule.metric]}, "
        f"{percent_text(bad / total)}. "
        f"{verdict_sentence(rule, state, low, needed)}"
    )
    return (make_finding(rule, tally, state, total, sentence, bad / total, low, high, None, needed),)


def prediction_volume(rule: Rule, tally: WindowCounts, _baseline: Baseline) -> tuple[Finding, ...]:
    """How many answers the version gave: a count without luck, decided once it has served for the whole window."""
    n, allowed = tally.predictions, metric_value_text(rule.metric, rule.threshold)
    given = f"Version {tally.version} gave {count_text(n, 'answer')} in the window"
    too_young = tally.serving_since is None or tally.serving_since > tally.start
    if too_young and rule.below is not None:
        sentence = f"{given}, but has not served for the whole of it."
        return (make_finding(rule, tally, "insufficient", n, sentence),)
    broken = rule.is_beyond(n, rule.threshold)
    asked = f"the rule allows {'at most' if rule.above is not None else 'no fewer than'} {allowed}"
    return (
        make_finding(rule, tally, "breach" if broken else "ok", n, f"{given}; {asked}.", float(n), float(n), float(n)),
    )


def _is_failure(metric: str, status: int) -> bool:
    return status >= 500 if metric == "error_rate" else status in INVALID_INPUT_STATUSES
