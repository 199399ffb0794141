"""The decision whether a rule is broken; pure, it knows no clock and remembers nothing.

A rule with a false-alarm budget is decided by its detectors, which have read every label once and may be asked as
often as one likes. A rule without one is decided by its window: a breach needs the lower confidence limit above the
threshold, so its false-alarm rate per evaluation is at most 1 - confidence. A value above the threshold without
such a proof is only "suspect".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from monitors.decisions.drift import input_drift, prediction_drift
from monitors.decisions.finding import Finding, found, nothing_labelled, still_needed, verdict, watched_state
from monitors.decisions.from_estimate import sampled
from monitors.decisions.group_gap import group_gap
from monitors.decisions.label_lag import label_lag
from monitors.decisions.latency_ratio import latency_ratio
from monitors.decisions.performance_estimation import expected_drop
from monitors.decisions.request_rates import share_of_requests, volume
from monitors.decisions.rule_detectors import WHOLE
from monitors.decisions.weighting_note import weighted
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import compared, counted, percent
from monitors.rules.metric_catalog import family_of
from monitors.statistics.e_detector import Detector, has_alarmed
from monitors.statistics.e_detector import labels_needed as labels_until_alarm
from monitors.statistics.intervals import binomial_tail, exact, labels_needed
from monitors.statistics.weighted_share import Counted, Estimate, difference, error_share
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Tally, weighed

Detectors = Mapping[str, Detector]
Findings = tuple[Finding, ...]
Decision = Callable[[Rule, Tally, Baseline, Detectors], Findings]
NONE: Final[Detectors] = {}


def decide(rule: Rule, tally: Tally, baseline: Baseline, detectors: Detectors = NONE) -> Findings:
    """Judge a window by a rule, given its detectors where the rule has a false-alarm budget."""
    return DECISIONS[family_of(rule.metric)](rule, tally, baseline, detectors)


def settled(findings: Sequence[Finding], detectors: Detectors) -> frozenset[str]:
    """The streams whose alarm is over, because the window has come back to the clear level: they begin anew."""
    over = {finding.key for finding in findings if finding.state == "ok" and finding.clear}
    return frozenset(name for name, each in detectors.items() if name in over and each.alarmed_at is not None)


def _accuracy_drop(rule: Rule, tally: Tally, baseline: Baseline, detectors: Detectors) -> Findings:
    counted_labels, detector = weighed(tally.labelled(rule.sources, WHOLE)), detectors.get(WHOLE)
    if not counted_labels:
        return (_unheard(rule, tally, detector),)
    sample = error_share(counted_labels, rule.confidence)
    accuracy = 1 - sample.value
    if not baseline.accuracy_total:
        sentence = f"Accuracy is {percent(accuracy)}, but version {tally.version} has no golden-set baseline."
        return (found(rule, tally, "insufficient", sample.n, sentence),)
    before = baseline.accuracy_correct / baseline.accuracy_total
    baseline_errors = baseline.accuracy_total - baseline.accuracy_correct
    golden = Estimate(1 - before, *exact(baseline_errors, baseline.accuracy_total, rule.confidence), 0)
    low, high = difference(sample, golden)
    drop = before - accuracy
    state = watched_state(rule, sample.n, drop, low, detector)
    needed = still_needed(rule, sample.n, state)
    if state == "suspect" and detector is not None:
        needed = _until_alarm(rule, tally, sample, detector, 1)
    elif state == "suspect":
        goal = labels_needed(
            accuracy, baseline.accuracy_correct, baseline.accuracy_total, rule.threshold, rule.confidence
        )
        needed = max(goal - sample.n, 1) if goal is not None else None
    sentence = (
        f"Accuracy is {percent(accuracy)} on {counted(sample.n, 'labelled answer')}"
        f"{_since(tally, WHOLE, detector)}{weighted(counted_labels)}, against {percent(before)} "
        f"on the golden set: {compared(drop)}. {verdict(rule, state, low, needed)}"
    )
    return (found(rule, tally, state, sample.n, sentence, drop, low, high, before, needed, detector=detector),)


def _since(tally: Tally, stream: str, detector: Detector | None) -> str:
    if stream not in tally.since_change or detector is None or detector.changed_at is None:
        return ""
    return f" since {detector.changed_at:%Y-%m-%d %H:%M} UTC, when it changed"


def _class_error(rule: Rule, tally: Tally, _baseline: Baseline, detectors: Detectors) -> Findings:
    cells = {name: tally.labelled(rule.sources, name) for name in tally.classes}
    samples = {name: weighed([each for each in cells[name] if each.truth == name]) for name in tally.classes}
    heard = {name: sample for name, sample in samples.items() if sample}
    calling = [name for name in tally.classes if name not in heard and has_alarmed(detectors.get(name))]
    if not heard and not calling:
        return (_unheard(rule, tally, None),)
    confidences = {} if rule.detects else _family_wise(rule, heard)
    return (
        *(_one_class(rule, tally, name, heard[name], confidences.get(name), detectors) for name in heard),
        *(_unheard(rule, tally, detectors[name], name) for name in calling),
    )


def _family_wise(rule: Rule, samples: Mapping[str, Sequence[Counted]]) -> dict[str, float]:
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
    rule: Rule, tally: Tally, name: str, cells: Sequence[Counted], confidence: float | None, detectors: Detectors
) -> Finding:
    sample, detector = error_share(cells, confidence or rule.confidence), detectors.get(name)
    state = watched_state(rule, sample.n, sample.value, sample.low, detector)
    needed = still_needed(rule, sample.n, state)
    if state == "suspect" and detector is not None:
        needed = _until_alarm(rule, tally, sample, detector, len(tally.classes))
    wrong = sum(cell.wrong for cell in cells)
    every = "" if len(cells) < 2 else f"; weighted by their chance to be drawn, that is {percent(sample.value)} of all"
    sentence = (
        f"Class {name}: {wrong} of {counted(sample.n, 'labelled answer')} wrong{_since(tally, name, detector)}, "
        f"{percent(wrong / sample.n)}{every}. {verdict(rule, state, sample.low, needed)}"
    )
    numbers = (sample.value, sample.low, sample.high)
    return found(rule, tally, state, sample.n, sentence, *numbers, None, needed, key=name, detector=detector)


def _unheard(rule: Rule, tally: Tally, detector: Detector | None, key: str = "") -> Finding:
    """No label in the window: an alarm stays one, for no news is not good news."""
    sentence = nothing_labelled(rule, tally)
    if not has_alarmed(detector):
        return found(rule, tally, "no-data", 0, sentence, needed=rule.min_samples)
    proof = verdict(rule, "breach", None, None)
    return found(rule, tally, "breach", 0, f"{sentence} {proof}", key=key, detector=detector)


def _until_alarm(rule: Rule, tally: Tally, sample: Estimate, detector: Detector, streams: int) -> int | None:
    if rule.false_alarms is None:
        return None
    gap = (tally.end - tally.start).total_seconds() / sample.n
    earned = rule.false_alarms.per_second / streams * gap
    return labels_until_alarm(detector, sample.value, earned)


def _by_window(decision: Callable[[Rule, Tally, Baseline], Findings]) -> Decision:
    """A decision that asks no detector."""
    return lambda rule, tally, baseline, _detectors: decision(rule, tally, baseline)


def _expected_drop(rule: Rule, tally: Tally, baseline: Baseline, detectors: Detectors) -> Findings:
    return (expected_drop(rule, tally, baseline, detectors.get(WHOLE)),)


DECISIONS: Final[Mapping[str, Decision]] = {
    "accuracy_drop": _accuracy_drop,
    "latency_ratio": _by_window(latency_ratio),
    "class_error": _class_error,
    "macro_f1": _by_window(sampled),
    "calibration_error": _by_window(sampled),
    "group_gap": _by_window(group_gap),
    "error_rate": _by_window(share_of_requests),
    "schema_violations": _by_window(share_of_requests),
    "volume": _by_window(volume),
    "label_lag": _by_window(label_lag),
    "python": _by_window(sampled),
    "evidently": _by_window(sampled),
    "expected_drop": _expected_drop,
    "prediction_drift": _by_window(lambda rule, tally, baseline: (prediction_drift(rule, tally, baseline),)),
    "input_drift": _by_window(lambda rule, tally, _: (input_drift(rule, tally),)),
}
"""How each metric of `monitors.rules.metric_catalog` is decided, by the name of its family."""
