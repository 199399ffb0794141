"""Decides whether accuracy has dropped against the golden set."""

from monitors.decisions.detectors.rule_detectors import WHOLE_STREAM
from monitors.decisions.finding import (
    Detectors,
    Findings,
    block_text,
    labels_text,
    labels_until_alarm,
    make_finding,
    no_labels_finding,
    samples_missing,
    shown_source,
    since_change_text,
    state_with_detector,
    verdict_sentence,
    waiting_text,
    weighting_note,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, percent_text, share_change_text
from monitors.statistics.intervals import (
    Estimate,
    clopper_pearson,
    difference_limits,
    labels_to_prove_drop,
    weighted_error_share,
)
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts, counts_by_weight


def accuracy_drop(rule: Rule, tally: WindowCounts, baseline: Baseline, detectors: Detectors) -> Findings:
    """How far the accuracy on labelled predictions lies below the golden set's."""
    cells, detector = tally.labels_from(rule.sources, WHOLE_STREAM), detectors.get(WHOLE_STREAM)
    source = shown_source(rule, cells, detector)
    counted_labels = counts_by_weight(cell for cell in cells if cell.source == source)
    if source is None or not counted_labels:
        return (no_labels_finding(rule, tally, detector),)
    sample = weighted_error_share(counted_labels, rule.confidence)
    accuracy = 1 - sample.value
    if not baseline.accuracy_total:
        sentence = f"Accuracy is {percent_text(accuracy)}, but version {tally.version} has no golden-set baseline."
        return (make_finding(rule, tally, "insufficient", sample.n, sentence),)
    before = baseline.accuracy_correct / baseline.accuracy_total
    baseline_errors = baseline.accuracy_total - baseline.accuracy_correct
    golden = Estimate(1 - before, *clopper_pearson(baseline_errors, baseline.accuracy_total, rule.confidence), 0)
    low, high = difference_limits(sample, golden)
    drop = before - accuracy
    state = state_with_detector(rule, sample.n, drop, low, detector)
    needed = samples_missing(rule, sample.n, state)
    if state == "suspect" and detector is not None:
        needed = labels_until_alarm(rule, tally, sample, detector, 1)
    elif state == "suspect":
        goal = labels_to_prove_drop(
            accuracy, baseline.accuracy_correct, baseline.accuracy_total, rule.threshold, rule.confidence
        )
        needed = max(goal - sample.n, 1) if goal is not None else None
    sentence = (
        f"Accuracy is {percent_text(accuracy)} on {count_text(sample.n, 'labelled answer')}"
        f"{since_change_text(tally, WHOLE_STREAM, detector)}{labels_text(tally, cells, source)}"
        f"{weighting_note(counted_labels)}, against {percent_text(before)} "
        f"on the golden set: {share_change_text(drop)}. {verdict_sentence(rule, state, low, needed)}"
        f"{block_text(rule, detector)}{waiting_text(tally, source)}"
    )
    return (make_finding(rule, tally, state, sample.n, sentence, drop, low, high, before, needed, detector=detector),)
