"""The decisions about prediction requests: how many fail, how many cannot be used, how many answers; it sees no row."""

from collections.abc import Mapping
from typing import Final

from monitors.decisions.finding import Finding, found, state_of, still_needed, verdict
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import amount, counted, percent
from monitors.statistics.intervals import exact
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Tally

UNUSABLE: Final = (413, 422)
"""The statuses of input that is over a limit or that cannot be used."""
_COUNTED: Final[Mapping[str, str]] = {
    "error_rate": "failed on the server's side",
    "schema_violations": "were refused as input that cannot be used",
}


def share_of_requests(rule: Rule, tally: Tally, _baseline: Baseline) -> tuple[Finding, ...]:
    """The share of prediction requests that failed (5xx), or that were refused as unusable (413, 422).

    Exact limits (Clopper, Pearson 1934). They take requests for independent, which those of one outage are not.
    """
    total = sum(tally.requests.values())
    if not total:
        sentence = "No prediction request was counted in the window."
        return (found(rule, tally, "no-data", 0, sentence, needed=rule.min_samples),)
    bad = sum(n for status, n in tally.requests.items() if _is_bad(rule.metric, status))
    low, high = exact(bad, total, rule.confidence)
    state = state_of(rule, total, bad / total, low)
    needed = still_needed(rule, total, state)
    sentence = (
        f"{bad:,} of {counted(total, 'prediction request')} {_COUNTED[rule.metric]}, {percent(bad / total)}. "
        f"{verdict(rule, state, low, needed)}"
    )
    return (found(rule, tally, state, total, sentence, bad / total, low, high, None, needed),)


def volume(rule: Rule, tally: Tally, _baseline: Baseline) -> tuple[Finding, ...]:
    """How many answers the version gave: a count without luck, decided once it has served for the whole window."""
    n, allowed = tally.answers, amount(rule.metric, rule.threshold)
    given = f"Version {tally.version} gave {counted(n, 'answer')} in the window"
    too_young = tally.serving_since is None or tally.serving_since > tally.start
    if too_young and rule.below is not None:
        sentence = f"{given}, but has not served for the whole of it."
        return (found(rule, tally, "insufficient", n, sentence),)
    broken = rule.is_beyond(n, rule.threshold)
    asked = f"the rule allows {'at most' if rule.above is not None else 'no fewer than'} {allowed}"
    return (found(rule, tally, "breach" if broken else "ok", n, f"{given}; {asked}.", float(n), float(n), float(n)),)


def _is_bad(metric: str, status: int) -> bool:
    return status >= 500 if metric == "error_rate" else status in UNUSABLE
