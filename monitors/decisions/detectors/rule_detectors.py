"""Advances the detectors of one rule over new labels: one for all of them, or one for each class.

Pure; the store keeps their state. A rule with a false-alarm budget shares it in equal parts among its streams and
alarms by e-BH over them. What the detectors know follows from the rule, the baseline and the labels in their order, so
it can be rebuilt or replayed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from typing import Final

from monitors.decisions.detectors.label_detector import (
    LabelDetector,
    SourceBlock,
    observe_blocks,
    update_label_detector,
)
from monitors.decisions.detectors.label_reading import Reading
from monitors.decisions.detectors.outcome_blocks import NO_SIZES, OutcomeBlock, error_of, group_into_blocks, loss_of
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import (
    BETTING_SCHEME,
    STAKES,
    CompositeNull,
    change_point,
    e_bh,
    has_alarmed,
    simple_null,
)
from monitors.statistics.golden_evidence import golden_mean_null, golden_null
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Outcome

MIN_DETECTOR_LABELS: Final = 5
"""No alarm rests on fewer labels. The proof needs no least number; people who read it want more than one or two."""
WHOLE_STREAM = ""
READING_SCHEME = "sources and blocks"
"""Part of the digest, as the betting scheme is: how labels become observations."""
RecentOutcomes = Callable[[], Sequence[Outcome]]


def null_hypothesis(rule: Rule, baseline: Baseline) -> CompositeNull | None:
    """Up to which error share the model counts as healthy; None while there is no baseline to hold it against.

    For a drop: the golden set's error share plus the threshold, whatever the former truly is; the golden counts are
    evidence about it, so that luck on the golden set blames no model, nor having been chosen by it among several.

    For a rise of losses that are not all 0 or 1: the golden mean loss plus the threshold, the golden losses being the
    evidence.
    """
    if rule.metric_spec.key_type == "class":
        return simple_null(rule.threshold)
    if not baseline.accuracy_total:
        return None
    if rule.metric_spec.observes == "loss" and not baseline.loss_counts.keys() <= {0.0, 1.0}:
        return golden_mean_null(baseline.loss_counts, 1.0, rule.threshold, baseline.golden_versions)
    errors = baseline.accuracy_total - baseline.accuracy_correct
    return golden_null(errors, baseline.accuracy_total, rule.threshold, baseline.golden_versions)


def least_labels(rule: Rule) -> int:
    """From how many labels on its detectors may alarm; `min_samples` is for the window's value, and for an end."""
    return min(rule.min_samples, MIN_DETECTOR_LABELS)


def detectors_digest(rule: Rule, baseline: Baseline, classes: Sequence[str]) -> str:
    """A digest of all that the detectors' memory rests on; when it changes they begin anew."""
    budget = None if rule.false_alarms is None else rule.false_alarms.text
    null = null_hypothesis(rule, baseline)
    parts: list[object] = [rule.metric, null and null.to_json(), budget, sorted(rule.sources), list(classes)]
    parts += [STAKES, BETTING_SCHEME, READING_SCHEME, rule.block.text]
    parts.append(None if rule.mature is None else rule.mature.total_seconds())
    if rule.slice:
        parts.append(sorted(rule.slice.items()))
    return sha256(json.dumps(parts).encode()).hexdigest()


def update_detectors(
    rule: Rule,
    baseline: Baseline,
    classes: Sequence[str],
    detectors: Mapping[str, LabelDetector],
    rows: Sequence[Outcome],
    reading: Reading,
    started_at: datetime,
    recent_rows: RecentOutcomes = lambda: (),
) -> dict[str, LabelDetector]:
    """The rule's detectors after a step of reading; those that are new start at `started_at`, when the version served.

    `rows` hold at least the labels that the step reads; what was read before, or is to be read later, is passed over.
    `recent_rows` gives the last labels up to and with `rows`: from them a detector that alarms now learns since when.
    Raises WindowError for a rule without a budget or without a baseline.
    """
    null = null_hypothesis(rule, baseline)
    if rule.false_alarms is None or not rule.metric_spec.has_detector or null is None:
        raise WindowError(f"rule {rule.name} has no false_alarms or no baseline, so it has no detectors")
    names = tuple(classes) if rule.metric_spec.key_type == "class" else (WHOLE_STREAM,)
    blocks = _new_blocks(rule, names, rows, reading)
    updated = {
        name: update_label_detector(
            detectors.get(name) or LabelDetector(null, started_at),
            blocks[name],
            rule.false_alarms.per_second,
            least_labels(rule),
            1 / len(names),
        )
        for name in names
    }
    after = _apply_e_bh(rule, updated)
    newly_alarmed = [name for name in names if has_alarmed(after[name]) and not has_alarmed(detectors.get(name))]
    if newly_alarmed:
        recent = _rows_by_stream(rule, names, recent_rows())
        for name in newly_alarmed:
            after[name] = _with_change_point(rule, after[name], recent[name], reading)
    return after


def count_new_labels(rule: Rule, rows: Sequence[Outcome], reading: Reading) -> dict[str, int]:
    """How many answers the step reads a label of, by stream."""
    counts = dict[str, int]()
    for row in {row.prediction_id: row for row in rows}.values():
        if row.has_tags(rule.slice) and any(_reads(reading, row, source) for source in rule.sources):
            name = row.counted_truth if rule.metric_spec.key_type == "class" else WHOLE_STREAM
            counts[name] = counts.get(name, 0) + 1
    return counts


def change_points_since(detectors: Mapping[str, LabelDetector], start: datetime) -> dict[str, datetime]:
    """The streams that have alarmed, with the moment of their change where it lies after `start`."""
    moments = {name: detector.changed_at for name, detector in detectors.items() if has_alarmed(detector)}
    return {name: moment for name, moment in moments.items() if moment is not None and moment > start}


def _new_blocks(
    rule: Rule, names: Sequence[str], rows: Sequence[Outcome], reading: Reading
) -> dict[str, list[SourceBlock]]:
    """What each stream of the rule reads in this step, in order: blocks of labels of one source."""
    distinct = list({row.prediction_id: row for row in rows}.values())
    blocks: dict[str, list[SourceBlock]] = {name: [] for name in names}
    for source in rule.sources:
        new = [row for row in distinct if _reads(reading, row, source)]
        for name, of_stream in _rows_by_stream(rule, names, new).items():
            blocks[name] += [(source, block) for block in _blocks(rule, of_stream, source, reading)]
    return {name: sorted(found, key=lambda pair: pair[1].read_at) for name, found in blocks.items()}


def _blocks(rule: Rule, rows: Sequence[Outcome], source: str, reading: Reading) -> list[OutcomeBlock]:
    measure = loss_of if rule.metric_spec.observes == "loss" else error_of
    return group_into_blocks(rows, reading.unit, reading.maturity.get(source, timedelta(0)), reading.now, measure)


def _reads(reading: Reading, row: Outcome, source: str) -> bool:
    """Whether the step reads the row's label of a source, and may estimate by it."""
    return reading.is_new(row, source) and _estimates(row, source)


def _estimates(row: Outcome, source: str) -> bool:
    """Whether the row's label of a source estimates: an audit label of an answer that was not drawn does not."""
    return source != "audit" or row.weight > 0


def _rows_by_stream(rule: Rule, names: Sequence[str], rows: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The rows that each stream of the rule reads: of a class those that truly show it."""
    rows_by_stream: dict[str, list[Outcome]] = {name: [] for name in names}
    for row in rows:
        stream = rows_by_stream.get(row.counted_truth, rows_by_stream.get(WHOLE_STREAM))
        if stream is not None and row.has_tags(rule.slice):
            stream.append(row)
    return rows_by_stream


def _with_change_point(rule: Rule, detector: LabelDetector, rows: Sequence[Outcome], reading: Reading) -> LabelDetector:
    """An alarmed detector that says since when answers have been bad, by the source that says most, in their order.

    What came before the detector began anew says nothing.
    """
    source = detector.leading_source
    if source is None:
        return detector
    part = detector.by_source[source]
    read = [row for row in rows if reading.has_read(row, source) and _estimates(row, source)]
    newest_first = list(reversed(_blocks(rule, read, source, reading)))
    labels = accumulate(len(block.rows) for block in newest_first)
    blocks = [block for block, n in zip(newest_first, labels, strict=True) if n <= part.n]
    if not blocks:
        return detector
    ordered = sorted(blocks, key=lambda block: min((row.at, row.seq) for row in block.rows))
    _, observations = observe_blocks(source, ordered, NO_SIZES)
    place = change_point(part.null.best, part.max_weight, observations)
    return replace(detector, changed_at=min(row.at for row in ordered[place].rows))


def _apply_e_bh(rule: Rule, detectors: Mapping[str, LabelDetector]) -> dict[str, LabelDetector]:
    """The detectors with the alarms of those that have enough evidence together, among those without an alarm."""
    alarming = e_bh(
        {
            name: detector.evidence
            for name, detector in detectors.items()
            if detector.n >= least_labels(rule) and not has_alarmed(detector)
        }
    )
    return {
        name: replace(detector, alarmed_at=max(part.at for part in detector.by_source.values()))
        if name in alarming
        else detector
        for name, detector in detectors.items()
    }
