"""Decides whether mistakes cost more than on the golden set, where some mistakes are worse than others."""

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
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, percent_text, share_change_text
from monitors.statistics.intervals import bounded_mean, difference_limits, weighted_bounded_mean
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts


def loss_rise(rule: Rule, tally: WindowCounts, baseline: Baseline, detectors: Detectors) -> Findings:
    """How far the mean loss on labelled predictions lies above the golden set's; 1 is the worst mistake each time."""
    cells, detector = tally.labels_from(rule.sources, WHOLE_STREAM), detectors.get(WHOLE_STREAM)
    source = shown_source(rule, cells, detector)
    shown = [cell for cell in cells if cell.source == source]
    if source is None or not shown:
        return (no_labels_finding(rule, tally, detector),)
    sample = weighted_bounded_mean([(cell.weight, tally.loss(cell), cell.n) for cell in shown], rule.confidence)
    loss = f"The mean loss is {percent_text(sample.value)} of the worst mistake's"
    if not baseline.accuracy_total:
        sentence = f"{loss}, but version {tally.version} has no golden-set baseline."
        return (make_finding(rule, tally, "insufficient", sample.n, sentence),)
    golden = bounded_mean(baseline.loss_counts, rule.confidence)
    rise = sample.value - golden.value
    low, high = difference_limits(sample, golden)
    state = state_with_detector(rule, sample.n, rise, low, detector)
    needed = samples_missing(rule, sample.n, state)
    if state == "suspect" and detector is not None:
        needed = labels_until_alarm(rule, tally, sample, detector, 1)
    sentence = (
        f"{loss} on {count_text(sample.n, 'labelled answer')}{since_change_text(tally, WHOLE_STREAM, detector)}"
        f"{labels_text(tally, cells, source)}, against {percent_text(golden.value)} on the golden set: "
        f"{share_change_text(-rise)}. {verdict_sentence(rule, state, low, needed)}"
        f"{block_text(rule, detector)}{waiting_text(tally, source)}"
    )
    found = make_finding(
        rule, tally, state, sample.n, sentence, rise, low, high, golden.value, needed, detector=detector
    )
    return (found,)
