"""The decision whether a rule is broken; pure, it knows no clock and remembers nothing.

A rule with a false-alarm budget is decided by its detectors, which have read every label once and may be asked as
often as one likes. A rule without one is decided by its window: a breach needs the lower confidence limit above the
threshold, so its false-alarm rate per evaluation is at most 1 - confidence. A value above the threshold without
such a proof is only "suspect".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from monitors.decisions.drift import input_drift, prediction_drift
from monitors.decisions.finding import (
    Finding,
    make_finding,
    no_labels_sentence,
    samples_missing,
    state_with_detector,
    verdict_sentence,
)
from monitors.decisions.from_estimate import decide_from_estimate
from monitors.decisions.group_gap import group_gap
from monitors.decisions.label_lag import label_lag
from monitors.decisions.latency_ratio import latency_ratio
from monitors.decisions.performance_estimation import expected_drop
from monitors.decisions.request_rates import failed_request_share, prediction_volume
from monitors.decisions.rule_detectors import WHOLE_STREAM
from monitors.decisions.weighting_note import weighting_note
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import accuracy_change_text, count_text, percent_text
from monitors.rules.metric_catalog import metric_family
from monitors.statistics.e_detector import Detector, has_alarmed
from monitors.statistics.e_detector import labels_until_alarm as labels_until_alarm
from monitors.statistics.intervals import binomial_tail, clopper_pearson, labels_to_prove_drop
from monitors.statistics.weighted_share import Estimate, WeightedCount, difference_limits, weighted_error_share
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts, counts_by_weight

Detectors = Mapping[str, Detector]
Findings = tuple[Finding, ...]
DecisionFunction = Callable[[Rule, WindowCounts, Baseline, Detectors], Findings]
NO_DETECTORS: Final[Detectors] = {}


def decide(rule: Rule, tally: WindowCounts, baseline: Baseline, detectors: Detectors = NO_DETECTORS) -> Findings:
    """Judge a window by a rule, given its detectors where the rule has a false-alarm budget."""
    return DECISIONS[metric_family(rule.metric)](rule, tally, baseline, detectors)


def resolved_streams(findings: Sequence[Finding], detectors: Detectors) -> frozenset[str]:
    """The streams whose alarm is over, because the window has come back to the clear level: they begin anew."""
    over = {finding.key for finding in findings if finding.state == "ok" and finding.clear}
    return frozenset(name for name, each in detectors.items() if name in over and each.alarmed_at is not None)


def _accuracy_drop(rule: Rule, tally: WindowCounts, baseline: Baseline, detectors: Detectors) -> Findings:
    counted_labels, detector = (
        counts_by_weight(tally.labels_from(rule.sources, WHOLE_STREAM)),
        detectors.get(WHOLE_STREAM),
    )
    if not counted_labels:
        return (_no_labels(rule, tally, detector),)
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
        needed = _labels_until_alarm(rule, tally, sample, detector, 1)
    elif state == "suspect":
        goal = labels_to_prove_drop(
            accuracy, baseline.accuracy_correct, baseline.accuracy_total, rule.threshold, rule.confidence
        )
        needed = max(goal - sample.n, 1) if goal is not None else None
    sentence = (
        f"Accuracy is {percent_text(accuracy)} on {count_text(sample.n, 'labelled answer')}"
        f"{_since_change_text(tally, WHOLE_STREAM, detector)}{weighting_note(counted_labels)}, against "
        f"{percent_text(before)} "
        f"on the golden set: {accuracy_change_text(drop)}. {verdict_sentence(rule, state, low, needed)}"
    )
    return (make_finding(rule, tally, state, sample.n, sentence, drop, low, high, before, needed, detector=detector),)


def _since_change_text(tally: WindowCounts, stream: str, detector: Detector | None) -> str:
    if stream not in tally.since_change or detector is None or detector.changed_at is None:
        return ""
    return f" since {detector.changed_at:%Y-%m-%d %H:%M} UTC, when it changed"


def _class_error(rule: Rule, tally: WindowCounts, _baseline: Baseline, detectors: Detectors) -> Findings:
    cells = {name: tally.labels_from(rule.sources, name) for name in tally.classes}
    samples = {name: counts_by_weight([each for each in cells[name] if each.truth == name]) for name in tally.classes}
    heard = {name: sample for name, sample in samples.items() if sample}
    calling = [name for name in tally.classes if name not in heard and has_alarmed(detectors.get(name))]
    if not heard and not calling:
        return (_no_labels(rule, tally, None),)
    confidences = {} if rule.uses_detector else _holm_confidences(rule, heard)
    return (
        *(_one_class(rule, tally, name, heard[name], confidences.get(name), detectors) for name in heard),
        *(_no_labels(rule, tally, detectors[name], name) for name in calling),
    )


def _holm_confidences(rule: Rule, samples: Mapping[str, Sequence[WeightedCount]]) -> dict[str, float]:
    """The confidence each class must reach, so that any false alarm among them stays within the rule's own.

    Holm (1979): the classes with enough labels, most suspicious first, are tested at alpha/m, alpha/(m-1)
    and so on until the first that does not reject; how many take part depends on label counts alone. Labels of
    several weights have no exact p-value: then each class is tested at alpha/m (Bonferroni).
    """
    ready = {name: cells for name, cells in samples.items() if sum(cell.n for cell in cells) >= rule.min_samples}
    alpha, left, rejecting = 1 - rule.confidence, len(ready), True
    if any(len(cells) > 1 for cells in ready.values()):
        return dict.fromkeys(ready, 1 - alpha / left)
    p_values = {name: binomial_tail(cells[0].wrong, cells[0].n, rule.threshold) for name, cells in ready.items()}
    confidences: dict[str, float] = {}
    for name in sorted(p_values, key=lambda name: p_values[name]):
        confidences[name] = 1 - alpha / left
        rejecting = rejecting and p_values[name] <= alpha / left
        left -= int(rejecting)
    return confidences


def _one_class(
    rule: Rule,
    tally: WindowCounts,
    name: str,
    cells: Sequence[WeightedCount],
    confidence: float | None,
    detectors: Detectors,
) -> Finding:
    sample, detector = weighted_error_share(cells, confidence or rule.confidence), detectors.get(name)
    state = state_with_detector(rule, sample.n, sample.value, sample.low, detector)
    needed = samples_missing(rule, sample.n, state)
    if state == "suspect" and detector is not None:
        needed = _labels_until_alarm(rule, tally, sample, detector, len(tally.classes))
    wrong = sum(cell.wrong for cell in cells)
    every = (
        "" if len(cells) < 2 else f"; weighted by their chance to be drawn, that is {percent_text(sample.value)} of all"
    )
    sentence = (
        f"Class {name}: {wrong} of {count_text(sample.n, 'labelled answer')} "
        f"wrong{_since_change_text(tally, name, detector)}, "
        f"{percent_text(wrong / sample.n)}{every}. {verdict_sentence(rule, state, sample.low, needed)}"
    )
    numbers = (sample.value, sample.low, sample.high)
    return make_finding(rule, tally, state, sample.n, sentence, *numbers, None, needed, key=name, detector=detector)


def _no_labels(rule: Rule, tally: WindowCounts, detector: Detector | None, key: str = "") -> Finding:
    """No label in the window: an alarm stays one, for no news is not good news."""
    sentence = no_labels_sentence(rule, tally)
    if not has_alarmed(detector):
        return make_finding(rule, tally, "no-data", 0, sentence, needed=rule.min_samples)
    proof = verdict_sentence(rule, "breach", None, None)
    return make_finding(rule, tally, "breach", 0, f"{sentence} {proof}", key=key, detector=detector)


def _labels_until_alarm(
    rule: Rule, tally: WindowCounts, sample: Estimate, detector: Detector, streams: int
) -> int | None:
    if rule.false_alarms is None:
        return None
    gap = (tally.end - tally.start).total_seconds() / sample.n
    earned = rule.false_alarms.per_second / streams * gap
    return labels_until_alarm(detector, sample.value, earned)


def _without_detectors(decision: Callable[[Rule, WindowCounts, Baseline], Findings]) -> DecisionFunction:
    """A decision that asks no detector."""
    return lambda rule, tally, baseline, _detectors: decision(rule, tally, baseline)


def _expected_drop(rule: Rule, tally: WindowCounts, baseline: Baseline, detectors: Detectors) -> Findings:
    return (expected_drop(rule, tally, baseline, detectors.get(WHOLE_STREAM)),)


DECISIONS: Final[Mapping[str, DecisionFunction]] = {
    "accuracy_drop": _accuracy_drop,
    "latency_ratio": _without_detectors(latency_ratio),
    "class_error": _class_error,
    "macro_f1": _without_detectors(decide_from_estimate),
    "calibration_error": _without_detectors(decide_from_estimate),
    "group_gap": _without_detectors(group_gap),
    "error_rate": _without_detectors(failed_request_share),
    "schema_violations": _without_detectors(failed_request_share),
    "volume": _without_detectors(prediction_volume),
    "label_lag": _without_detectors(label_lag),
    "python": _without_detectors(decide_from_estimate),
    "evidently": _without_detectors(decide_from_estimate),
    "expected_drop": _expected_drop,
    "prediction_drift": _without_detectors(lambda rule, tally, baseline: (prediction_drift(rule, tally, baseline),)),
    "input_drift": _without_detectors(lambda rule, tally, _: (input_drift(rule, tally),)),
}
"""How each metric of `monitors.rules.metric_catalog` is decided, by the name of its family."""
