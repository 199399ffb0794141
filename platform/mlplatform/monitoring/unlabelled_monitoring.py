"""Reads what early warnings without labels rest on: minutes not read yet, predictions by class."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.alerting import detector_state
from mlplatform.monitoring.reference_inputs import reference_period
from mlplatform.predictions import prediction_counts
from mlplatform.promotion import promotion_history
from monitors.decisions.detectors.rule_detectors import WHOLE_STREAM
from monitors.decisions.performance_estimation import MinuteCounts, detector_digest, update_performance_detector
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, duration_text
from monitors.statistics.e_detector import Detector
from monitors.windows.latency_bins import BinCounts
from monitors.windows.reference_period import ReferencePeriod, Span
from monitors.windows.window import Baseline, ReferenceMix

MAX_ROWS_PER_READ: Final = 10_000
SETTLE_DELAY: Final = timedelta(minutes=2)
"""A minute is read when it has been over for so long: servers record predictions a little later than they answer.
What comes later still, after a database was away, is missed by the detector, and is in the window."""
INITIAL_BUDGET_PERIOD: Final = timedelta(hours=1)
"""A version begins with the false-alarm budget of one hour: else its very first labels could prove nothing."""


@dataclass(frozen=True)
class ComparedAnswers:
    """Predictions of a window by class and bin of confidence, and the mix of the reference in the same hours."""

    window: Mapping[str, BinCounts]
    reference: ReferenceMix | None


def compared_answers(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, now: datetime
) -> ComparedAnswers:
    """What a rule on the mix of classes compares; the reference is None until it is complete."""
    name, version = champion.model_name, champion.to_version
    period = reference_period(connection, name, version, rule.reference)
    window = period.comparable_window(now - rule.window, now)
    if window is None or now < period.end + SETTLE_DELAY:
        return ComparedAnswers(prediction_counts.class_counts(connection, name, version, now - rule.window, now), None)
    class_counts = Counter[str]()
    for first, end in period.matching_spans(window):
        last = end - timedelta(minutes=1)
        class_counts.update(_label_counts(prediction_counts.class_counts(connection, name, version, first, last)))
    predicted = prediction_counts.class_counts(connection, name, version, *window)
    return ComparedAnswers(predicted, ReferenceMix(dict(class_counts), period.end, reference_text(period, window)))


def reference_text(period: ReferencePeriod, window: Span) -> str:
    """What of a reference a window is compared with: "the same hours of its first 7 days"."""
    length = period.end - period.start
    days = length // timedelta(days=1)
    first = f"its first {count_text(days, 'day') if days > 1 else duration_text(length)}"
    is_part = period.season is not None and window[1] - window[0] < period.season
    return f"the same hours of {first}" if is_part else first


def advance_performance_estimator(
    connection: Connection,
    rule: Rule,
    baseline: Baseline,
    champion: promotion_history.Promotion,
    now: datetime,
) -> detector_state.DetectorState | None:
    """The rule's detector after the minutes it had not read; None where the rule has none.

    At most MAX_ROWS_PER_READ rows are read: what is left waits for the next evaluation.
    """
    calibration, versions = baseline.error_by_confidence, baseline.golden_versions
    if rule.false_alarms is None or calibration is None:
        return None
    name, version, digest = champion.model_name, champion.to_version, detector_digest(rule, calibration, versions)
    before = detector_state.load_state(connection, name, version, rule.name)
    begins_anew = before is not None and before.definition != digest
    if before is None or begins_anew:
        before = detector_state.DetectorState(digest, 0, {})
    settled = prediction_counts.minute_index(now - SETTLE_DELAY) - 1
    minutes = [
        MinuteCounts(number, prediction_counts.minute_start(number + 1), _confidence_counts(labels))
        for number, labels in prediction_counts.class_counts_by_minute(
            connection, name, version, before.cursor, settled, MAX_ROWS_PER_READ
        )
    ]
    stored = before.streams.get(WHOLE_STREAM)
    detector = None if stored is None else Detector.from_json(stored)
    started_at = champion.at - INITIAL_BUDGET_PERIOD
    after, last = update_performance_detector(rule, calibration, detector, minutes, started_at, versions)
    cursor = before.cursor if last is None else last
    return detector_state.DetectorState(digest, cursor, {WHOLE_STREAM: after.to_json()}, begins_anew=begins_anew)


def _label_counts(labels: Mapping[str, BinCounts]) -> dict[str, int]:
    return {label: sum(bins.values()) for label, bins in labels.items()}


def _confidence_counts(labels: Mapping[str, BinCounts]) -> BinCounts:
    total = Counter[int]()
    for bins in labels.values():
        total.update(bins)
    return total
