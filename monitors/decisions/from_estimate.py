"""The decision about a number estimated from a window's newest rows; it does not know what the number means."""

from monitors.decisions.finding import (
    Finding,
    found,
    nothing_answered,
    nothing_labelled,
    state_of,
    still_needed,
    verdict,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import amount, counted
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Tally


def sampled(rule: Rule, tally: Tally, _baseline: Baseline) -> tuple[Finding, ...]:
    """By the limits of the estimate; a metric that could not be computed decides nothing and says why."""
    n, estimate = tally.sampled.n, tally.sampled.estimate
    if tally.sampled.fault:
        return (found(rule, tally, "no-data", n, tally.sampled.fault),)
    if not n:
        sentence = nothing_labelled(rule, tally) if rule.reads_labels else nothing_answered(tally)
        return (found(rule, tally, "no-data", 0, sentence, needed=rule.min_samples),)
    rows = counted(n, "labelled answer" if rule.reads_labels else "answer")
    if estimate is None:
        needed = still_needed(rule, n, "insufficient")
        sentence = f"There are {rows}{rule.where}. {verdict(rule, 'insufficient', None, needed)}"
        return (found(rule, tally, "insufficient", n, sentence, needed=needed),)
    low, high = bounded(rule, estimate.low), bounded(rule, estimate.high)
    state = state_of(rule, n, estimate.value, low if rule.above is not None else high)
    bound = low if rule.above is not None else high
    sentence = (
        f"{_name(rule)} is {amount(rule.metric, estimate.value)} on {rows}{rule.where}. "
        f"{verdict(rule, state, bound, None)}"
    )
    return (found(rule, tally, state, n, sentence, estimate.value, low, high),)


def bounded(rule: Rule, limit: float) -> float:
    """The limit of a share within 0 to 1; other numbers as they are."""
    return min(1.0, max(0.0, limit)) if rule.kind.units[0] == "%" else limit


def _name(rule: Rule) -> str:
    own = rule.metric.partition(":")[2]
    return own or rule.kind.subject[0].upper() + rule.kind.subject[1:]
