"""The decision whether a rule is broken in a window; pure, it knows no clock and remembers nothing.

A breach needs the lower confidence limit above the threshold, so its false-alarm rate per evaluation is at
most 1 - confidence. A value above the threshold without that proof is only "suspect".
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from monitors.errors import MetricsError
from monitors.intervals import (
    binomial_tail,
    exact,
    labels_needed,
    newcombe_difference,
    quantile,
    quantile_interval,
)
from monitors.quantities import Metric
from monitors.rules import Rule
from monitors.window import Baseline, Measured, Window
from monitors.wording import amount, counted, percent

State = Literal["ok", "suspect", "breach", "insufficient", "no-data"]

LATENCY_QUANTILE = 0.95
MIN_BASELINE_CALLS = 200
_AGREE = 1e-9
_SUBJECT: Final[Mapping[Metric, str]] = {
    "accuracy_drop": "the drop",
    "latency_ratio": "the ratio",
    "class_error": "the error rate",
}


@dataclass(frozen=True)
class Finding:
    """What one rule says about one window; `key` is a class name where a rule judges classes one by one."""

    rule: str
    key: str
    model: str
    version: int
    state: State
    sentence: str
    threshold: float
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    needed: int | None = None


def decide(rule: Rule, window: Window, baseline: Baseline, measured: Measured | None = None) -> tuple[Finding, ...]:
    """Judge a window by a rule; numbers measured elsewhere are shown, but must agree with its own counts."""
    if rule.metric == "accuracy_drop":
        return (_accuracy_drop(rule, window, baseline, measured),)
    if rule.metric == "latency_ratio":
        return (_latency_ratio(rule, window, baseline, measured),)
    return _class_error(rule, window, measured)


def _accuracy_drop(rule: Rule, window: Window, baseline: Baseline, measured: Measured | None) -> Finding:
    rows = window.labelled(rule.sources)
    if not rows:
        return _finding(rule, window, "no-data", 0, _nothing_labelled(rule, window), needed=rule.min_samples)
    total, errors = len(rows), sum(not row.correct for row in rows)
    accuracy = _agreed("accuracy", 1 - errors / total, None if measured is None else measured.accuracy, measured)
    if not baseline.accuracy_total:
        sentence = f"Accuracy is {percent(accuracy)}, but version {window.version} has no golden-set baseline."
        return _finding(rule, window, "insufficient", total, sentence)
    before = baseline.accuracy_correct / baseline.accuracy_total
    baseline_errors = baseline.accuracy_total - baseline.accuracy_correct
    low, high = newcombe_difference(errors, total, baseline_errors, baseline.accuracy_total, rule.confidence)
    drop = before - accuracy
    state = _state(rule, total, drop, low)
    needed = _still_needed(rule, total, state)
    if state == "suspect":
        goal = labels_needed(accuracy, baseline.accuracy_correct, baseline.accuracy_total, rule.above, rule.confidence)
        needed = max(goal - total, 1) if goal is not None else None
    sentence = (
        f"Accuracy is {percent(accuracy)} on {counted(total, 'labelled answer')}, against {percent(before)} "
        f"on the golden set: {_compared(drop)}. {_verdict(rule, state, low, needed, 'label')}"
    )
    return _finding(rule, window, state, total, sentence, drop, low, high, before, needed)


def _compared(drop: float) -> str:
    return f"{100 * abs(drop):.1f} points {'lower' if drop > 0 else 'higher'}" if round(drop, 3) else "no difference"


def _latency_ratio(rule: Rule, window: Window, baseline: Baseline, measured: Measured | None) -> Finding:
    if all(row.latency_ms is None for row in window.rows):
        return _finding(rule, window, "no-data", 0, _nothing_answered(window), needed=rule.min_samples)
    ordered = sorted(row.latency_ms for row in window.rows if row.latency_ms is not None)
    total = len(ordered)
    p95 = _agreed(
        "p95 latency",
        quantile(ordered, LATENCY_QUANTILE),
        None if measured is None else measured.latency_p95_ms,
        measured,
    )
    reference = baseline.latency_p95_ms
    if reference is None or baseline.latency_calls < MIN_BASELINE_CALLS:
        sentence = (
            f"95 % of answers took at most {p95:.1f} ms, but the baseline rests on "
            f"{counted(baseline.latency_calls if reference else 0, 'call')}; it needs {MIN_BASELINE_CALLS}."
        )
        return _finding(rule, window, "insufficient", total, sentence)
    limits = quantile_interval(ordered, LATENCY_QUANTILE, rule.confidence)
    low, high = (None if limit is None else limit / reference for limit in limits)
    ratio = p95 / reference
    state = _state(rule, total, ratio, low)
    needed = _still_needed(rule, total, state)
    sentence = (
        f"95 % of {counted(total, 'answer')} took at most {p95:.1f} ms, {ratio:.2f} times the "
        f"{reference:.1f} ms measured at promotion. {_verdict(rule, state, low, needed, 'call')}"
    )
    return _finding(rule, window, state, total, sentence, ratio, low, high, reference, needed)


def _class_error(rule: Rule, window: Window, measured: Measured | None) -> tuple[Finding, ...]:
    rows = window.labelled(rule.sources)
    if not rows:
        return (_finding(rule, window, "no-data", 0, _nothing_labelled(rule, window), needed=rule.min_samples),)
    totals = Counter(row.truth for row in rows)
    errors = Counter(row.truth for row in rows if not row.correct)
    counts = {name: (errors[name], totals[name]) for name in window.classes if totals[name]}
    confidences = _holm(rule, counts)
    return tuple(
        _one_class(rule, window, name, counts[name], confidences.get(name, rule.confidence), measured)
        for name in counts
    )


def _holm(rule: Rule, counts: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """The confidence each class must reach, so that any false alarm among them stays within the rule's own.

    Holm (1979): the classes with enough labels, most suspicious first, are tested at alpha/m, alpha/(m-1)
    and so on until the first that does not reject; how many take part depends on label counts alone.
    """
    p_values = {
        name: binomial_tail(wrong, total, rule.above)
        for name, (wrong, total) in counts.items()
        if total >= rule.min_samples
    }
    alpha, left, rejecting = 1 - rule.confidence, len(p_values), True
    confidences: dict[str, float] = {}
    for name in sorted(p_values, key=lambda name: p_values[name]):
        confidences[name] = 1 - alpha / left
        rejecting = rejecting and p_values[name] <= alpha / left
        left -= int(rejecting)
    return confidences


def _one_class(
    rule: Rule,
    window: Window,
    name: str,
    counts: tuple[int, int],
    confidence: float,
    measured: Measured | None,
) -> Finding:
    wrong, total = counts
    recall = None if measured is None else measured.class_recall.get(name)
    error = 1 - _agreed(f"recall of class {name}", 1 - wrong / total, recall, measured)
    low, high = exact(wrong, total, confidence)
    state = _state(rule, total, error, low)
    needed = _still_needed(rule, total, state)
    sentence = (
        f"Class {name}: {wrong} of {counted(total, 'labelled answer')} wrong, {percent(error)}. "
        f"{_verdict(rule, state, low, needed, 'label')}"
    )
    return _finding(rule, window, state, total, sentence, error, low, high, None, needed, key=name)


def _state(rule: Rule, total: int, value: float, low: float | None) -> State:
    if total < rule.min_samples:
        return "insufficient"
    if low is not None and low > rule.above:
        return "breach"
    return "suspect" if value > rule.above + _AGREE else "ok"


def _still_needed(rule: Rule, total: int, state: State) -> int | None:
    return rule.min_samples - total if state == "insufficient" else None


def _verdict(rule: Rule, state: State, low: float | None, needed: int | None, noun: str) -> str:
    allowed = amount(rule.metric, rule.above)
    sure = f"{100 * rule.confidence:g} % confidence"
    if state == "breach":
        shown = f"{_SUBJECT[rule.metric]} is at least {amount(rule.metric, low)}"
        return f"With {sure} {shown}; the rule allows {allowed}."
    if state == "suspect":
        more = f"; about {counted(needed, noun)} more would prove it if it stays so" if needed else ""
        return f"That is over the {allowed} the rule allows, but not yet with {sure}{more}."
    if state == "insufficient":
        return f"The rule decides from {counted(rule.min_samples, noun)} on; {needed} more needed."
    return f"The rule allows {allowed}."


def _nothing_answered(window: Window) -> str:
    return f"Version {window.version} gave no answer in the window."


def _nothing_labelled(rule: Rule, window: Window) -> str:
    if not window.rows:
        return _nothing_answered(window)
    answers = counted(len(window.rows), "answer")
    return f"None of {answers} in the window has a label from {' or '.join(rule.sources)}."


def _agreed(name: str, counted_here: float, measured_value: float | None, measured: Measured | None) -> float:
    """The measured number, if it is of the whole window; a contradiction must never pass in silence."""
    if measured is None or measured.sampled:
        return counted_here
    if measured_value is None or abs(measured_value - counted_here) > _AGREE * max(1.0, abs(counted_here)):
        raise MetricsError(
            f"{name} was measured as {measured_value} but the window's rows give {counted_here}; "
            "measure the same window with the same label sources"
        )
    return measured_value


def _finding(
    rule: Rule,
    window: Window,
    state: State,
    n: int,
    sentence: str,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    baseline: float | None = None,
    needed: int | None = None,
    *,
    key: str = "",
) -> Finding:
    return Finding(
        rule=rule.name, key=key, model=window.model, version=window.version, state=state, sentence=sentence,
        threshold=rule.above, n=n, value=value, low=low, high=high, baseline=baseline, needed=needed,
    )  # fmt: skip
