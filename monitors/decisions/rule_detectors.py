"""The detectors of one rule, a stream for the whole or for each class; pure, the store keeps their memory.

A rule with a false-alarm budget shares it in equal parts among its streams and alarms by e-BH over them. What the
detectors know follows from the rule, the baseline and the labels in their order, so it can be rebuilt or replayed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import (
    FORM,
    STAKES,
    Detector,
    Observation,
    alarming,
    begin,
    has_alarmed,
    observe,
    turning_point,
)
from monitors.statistics.intervals import exact
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Judged

_LARGEST_NULL = 0.999
WHOLE = ""
Past = Callable[[], Sequence[Judged]]


def null_of(rule: Rule, baseline: Baseline) -> float | None:
    """The error share up to which the model counts as healthy; None while there is no baseline to hold it against.

    For a drop: the upper confidence limit of the golden set's error share plus the threshold, so that luck on the
    golden set blames no model.
    """
    if rule.kind.key == "class":
        return rule.threshold
    if not baseline.accuracy_total:
        return None
    errors = baseline.accuracy_total - baseline.accuracy_correct
    return min(_LARGEST_NULL, exact(errors, baseline.accuracy_total, rule.confidence)[1] + rule.threshold)


def definition(rule: Rule, baseline: Baseline, classes: Sequence[str]) -> str:
    """A digest of all that the detectors' memory rests on; when it changes they begin anew."""
    budget = None if rule.false_alarms is None else rule.false_alarms.text
    parts: list[object] = [rule.metric, null_of(rule, baseline), budget, sorted(rule.sources), list(classes)]
    parts += [STAKES, FORM]
    if rule.slice:
        parts.append(sorted(rule.slice.items()))
    return sha256(json.dumps(parts).encode()).hexdigest()


def advance(
    rule: Rule,
    baseline: Baseline,
    classes: Sequence[str],
    held: Mapping[str, Detector],
    rows: Sequence[Judged],
    cursor: int,
    begun: datetime,
    past: Past = lambda: (),
) -> dict[str, Detector]:
    """The rule's detectors after these rows; those not yet held begin at `begun`, when the version began to serve.

    `cursor` is the number up to which labels were read before: what one of those numbers told is not told again.
    `past` gives the last labels up to and with `rows`: a detector that alarms now is told since when.
    Raises WindowError for a rule without a budget or without a baseline.
    """
    null = null_of(rule, baseline)
    if rule.false_alarms is None or not rule.kind.detects or null is None:
        raise WindowError(f"rule {rule.name} has no false_alarms or no baseline, so it has no detectors")
    names = tuple(classes) if rule.kind.key == "class" else (WHOLE,)
    share = rule.false_alarms.per_second / len(names)
    fed = _streams(rule, names, [row for row in rows if row.is_new_for(rule.sources, cursor)])
    moved = {
        name: observe(held.get(name) or begin(null, begun), map(_observation, fed[name]), share, rule.min_samples)
        for name in names
    }
    after = _alarmed_together(rule, moved)
    fresh = [name for name in names if has_alarmed(after[name]) and not has_alarmed(held.get(name))]
    read = _streams(rule, names, past()) if fresh else {}
    for name in fresh:
        life = len(fed[name]) + (held[name].n if name in held else 0)  # what came before it began anew says nothing
        after[name] = _dated(after[name], read[name][-life:])
    return after


def changed_since(held: Mapping[str, Detector], start: datetime) -> dict[str, datetime]:
    """The streams that have alarmed, with the moment of their change where it lies after `start`."""
    moments = {name: each.changed_at for name, each in held.items() if has_alarmed(each)}
    return {name: moment for name, moment in moments.items() if moment is not None and moment > start}


def _streams(rule: Rule, names: Sequence[str], rows: Sequence[Judged]) -> dict[str, list[Judged]]:
    """The rows that each stream of the rule reads."""
    fed: dict[str, list[Judged]] = {name: [] for name in names}
    for row in rows:
        stream = fed.get(row.truth, fed.get(WHOLE))
        if stream is not None and row.estimates_for(rule.sources) and row.is_in(rule.slice):
            stream.append(row)
    return fed


def _dated(detector: Detector, rows: Sequence[Judged]) -> Detector:
    """An alarmed detector that says since when answers have been bad, in the order of the answers."""
    if not rows:
        return detector
    ordered = sorted(rows, key=lambda row: (row.at, row.seq))
    place = turning_point(detector.null, detector.heaviest, [_observation(row) for row in ordered])
    return replace(detector, changed_at=ordered[place].at)


def _observation(row: Judged) -> Observation:
    return Observation(row.known_at, float(row.label != row.truth), row.share)


def _alarmed_together(rule: Rule, moved: Mapping[str, Detector]) -> dict[str, Detector]:
    ready = {name: each.evidence for name, each in moved.items() if each.n >= rule.min_samples}
    calling = alarming(ready)
    return {
        name: replace(each, alarmed_at=each.at) if name in calling and each.alarmed_at is None else each
        for name, each in moved.items()
    }
