"""Advances the detectors of one rule over new labels: one for all of them, or one for each class.

Pure; the store keeps their state. A rule with a false-alarm budget shares it in equal parts among its streams and
alarms by e-BH over them. What the detectors know follows from the rule, the baseline and the labels in their order, so
it can be rebuilt or replayed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import (
    BETTING_SCHEME,
    STAKES,
    Detector,
    Observation,
    change_point,
    e_bh,
    has_alarmed,
    start_detector,
    update_detector,
)
from monitors.statistics.intervals import clopper_pearson
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Outcome

_MAX_NULL = 0.999
MIN_DETECTOR_LABELS: Final = 5
"""No alarm rests on fewer labels. The proof needs no least number; people who read it want more than one or two."""
WHOLE_STREAM = ""
RecentOutcomes = Callable[[], Sequence[Outcome]]


def null_error_share(rule: Rule, baseline: Baseline) -> float | None:
    """The error share up to which the model counts as healthy; None while there is no baseline to hold it against.

    For a drop: the upper confidence limit of the golden set's error share plus the threshold, so that luck on the
    golden set blames no model.
    """
    if rule.metric_spec.key_type == "class":
        return rule.threshold
    if not baseline.accuracy_total:
        return None
    errors = baseline.accuracy_total - baseline.accuracy_correct
    return min(_MAX_NULL, clopper_pearson(errors, baseline.accuracy_total, rule.confidence)[1] + rule.threshold)


def least_labels(rule: Rule) -> int:
    """From how many labels on its detectors may alarm; `min_samples` is for the window's value, and for an end."""
    return min(rule.min_samples, MIN_DETECTOR_LABELS)


def detectors_digest(rule: Rule, baseline: Baseline, classes: Sequence[str]) -> str:
    """A digest of all that the detectors' memory rests on; when it changes they begin anew."""
    budget = None if rule.false_alarms is None else rule.false_alarms.text
    parts: list[object] = [rule.metric, null_error_share(rule, baseline), budget, sorted(rule.sources), list(classes)]
    parts += [STAKES, BETTING_SCHEME]
    if rule.slice:
        parts.append(sorted(rule.slice.items()))
    return sha256(json.dumps(parts).encode()).hexdigest()


def update_detectors(
    rule: Rule,
    baseline: Baseline,
    classes: Sequence[str],
    detectors: Mapping[str, Detector],
    rows: Sequence[Outcome],
    cursor: int,
    started_at: datetime,
    recent_rows: RecentOutcomes = lambda: (),
) -> dict[str, Detector]:
    """The rule's detectors after these rows; those that are new start at `started_at`, when the version began to serve.

    `cursor` is the sequence number up to which labels were read before: none of those is read again.
    `recent_rows` gives the last labels up to and with `rows`: from them a detector that alarms now learns since when.
    Raises WindowError for a rule without a budget or without a baseline.
    """
    null = null_error_share(rule, baseline)
    if rule.false_alarms is None or not rule.metric_spec.has_detector or null is None:
        raise WindowError(f"rule {rule.name} has no false_alarms or no baseline, so it has no detectors")
    names = tuple(classes) if rule.metric_spec.key_type == "class" else (WHOLE_STREAM,)
    new_rows = _rows_by_stream(rule, names, [row for row in rows if row.is_new_for(rule.sources, cursor)])
    updated = {
        name: update_detector(
            detectors.get(name) or start_detector(null, started_at),
            map(_observation, new_rows[name]),
            rule.false_alarms.per_second,
            least_labels(rule),
            1 / len(names),
        )
        for name in names
    }
    after = _apply_e_bh(rule, updated)
    newly_alarmed = [name for name in names if has_alarmed(after[name]) and not has_alarmed(detectors.get(name))]
    recent = _rows_by_stream(rule, names, recent_rows()) if newly_alarmed else {}
    for name in newly_alarmed:
        life = len(new_rows[name]) + (
            detectors[name].n if name in detectors else 0
        )  # what came before it began anew says nothing
        after[name] = _with_change_point(after[name], recent[name][-life:])
    return after


def change_points_since(detectors: Mapping[str, Detector], start: datetime) -> dict[str, datetime]:
    """The streams that have alarmed, with the moment of their change where it lies after `start`."""
    moments = {name: detector.changed_at for name, detector in detectors.items() if has_alarmed(detector)}
    return {name: moment for name, moment in moments.items() if moment is not None and moment > start}


def _rows_by_stream(rule: Rule, names: Sequence[str], rows: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The rows that each stream of the rule reads."""
    rows_by_stream: dict[str, list[Outcome]] = {name: [] for name in names}
    for row in rows:
        stream = rows_by_stream.get(row.truth, rows_by_stream.get(WHOLE_STREAM))
        if stream is not None and row.counts_for(rule.sources) and row.has_tags(rule.slice):
            stream.append(row)
    return rows_by_stream


def _with_change_point(detector: Detector, rows: Sequence[Outcome]) -> Detector:
    """An alarmed detector that says since when answers have been bad, in the order of the answers."""
    if not rows:
        return detector
    ordered = sorted(rows, key=lambda row: (row.at, row.seq))
    place = change_point(detector.null, detector.max_weight, [_observation(row) for row in ordered])
    return replace(detector, changed_at=ordered[place].at)


def _observation(row: Outcome) -> Observation:
    return Observation(row.known_at, float(row.label != row.truth), row.share)


def _apply_e_bh(rule: Rule, detectors: Mapping[str, Detector]) -> dict[str, Detector]:
    """The detectors with the alarms of those that have enough evidence together, among those without an alarm."""
    alarming = e_bh(
        {
            name: detector.evidence
            for name, detector in detectors.items()
            if detector.n >= least_labels(rule) and not has_alarmed(detector)
        }
    )
    return {
        name: replace(detector, alarmed_at=detector.at) if name in alarming else detector
        for name, detector in detectors.items()
    }
