"""Decides about a number that was estimated from a window's newest rows."""

from monitors.decisions.finding import (
    Detectors,
    Findings,
    make_finding,
    no_labels_sentence,
    no_predictions_sentence,
    samples_missing,
    state_by_window,
    verdict_sentence,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, metric_value_text
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts


def decide_from_estimate(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """By the limits of the estimate; a metric that could not be computed decides nothing and says why."""
    n, estimate = tally.row_estimate.n, tally.row_estimate.estimate
    if tally.row_estimate.problem:
        return (make_finding(rule, tally, "no-data", n, tally.row_estimate.problem),)
    if not n:
        sentence = no_labels_sentence(rule, tally) if rule.reads_labels else no_predictions_sentence(tally)
        return (make_finding(rule, tally, "no-data", 0, sentence, needed=rule.min_samples),)
    rows = count_text(n, "labelled answer" if rule.reads_labels else "answer")
    if estimate is None:
        needed = samples_missing(rule, n, "insufficient")
        sentence = f"There are {rows}{rule.slice_text}. {verdict_sentence(rule, 'insufficient', None, needed)}"
        return (make_finding(rule, tally, "insufficient", n, sentence, needed=needed),)
    low, high = rule.metric_spec.clamp(estimate.low), rule.metric_spec.clamp(estimate.high)
    state = state_by_window(rule, n, estimate.value, low if rule.above is not None else high)
    bound = low if rule.above is not None else high
    sentence = (
        f"{_metric_title(rule)} is {metric_value_text(rule.metric, estimate.value)} on {rows}{rule.slice_text}. "
        f"{verdict_sentence(rule, state, bound, None)}"
    )
    return (make_finding(rule, tally, state, n, sentence, estimate.value, low, high),)


def _metric_title(rule: Rule) -> str:
    own = rule.metric.partition(":")[2]
    return own or rule.metric_spec.subject[0].upper() + rule.metric_spec.subject[1:]
