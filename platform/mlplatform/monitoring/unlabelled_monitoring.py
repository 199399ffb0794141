"""Reads what early warnings without labels rest on: minutes not read yet, predictions by class, the first ones."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.alerting import detector_state, evaluations
from mlplatform.predictions import prediction_counts
from mlplatform.promotion import promotion_history
from monitors.decisions.drift import REFERENCE_PREDICTIONS
from monitors.decisions.performance_estimation import MinuteCounts, detector_digest, update_performance_detector
from monitors.decisions.rule_detectors import WHOLE_STREAM
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector
from monitors.windows.latency_bins import BinCounts
from monitors.windows.window import ErrorByConfidence, ReferenceMix

MAX_ROWS_PER_READ: Final = 10_000
SETTLE_DELAY: Final = timedelta(minutes=2)
"""A minute is read when it has been over for so long: servers record predictions a little later than they answer.
What comes later still, after a database was away, is missed by the detector, and is in the window."""
INITIAL_BUDGET_PERIOD: Final = timedelta(hours=1)
"""A version begins with the false-alarm budget of one hour: else its very first labels could prove nothing."""
REFERENCE_KIND: Final = "answers"


def first_complete_mix(
    connection: Connection, champion: promotion_history.Promotion, now: datetime
) -> ReferenceMix | None:
    """The classes of the version's first REFERENCE_PREDICTIONS predictions, in whole minutes; None while fewer."""
    name, version = champion.model_name, champion.to_version
    class_counts, settled = Counter[str](), prediction_counts.minute_index(now - SETTLE_DELAY) - 1
    for minute, labels in prediction_counts.class_counts_by_minute(
        connection, name, version, 0, settled, 2 * REFERENCE_PREDICTIONS
    ):
        class_counts.update(_label_counts(labels))
        if class_counts.total() >= REFERENCE_PREDICTIONS:
            return ReferenceMix(dict(class_counts), prediction_counts.minute_start(minute + 1))
    return None


def store_reference_mix(
    connection: Connection, champion: promotion_history.Promotion, mix: ReferenceMix, now: datetime
) -> None:
    """Pin the mix that the version's later predictions are compared with; the first one stays."""
    numbers = {"shares": dict(mix.class_counts), "until": prediction_counts.minute_index(mix.until)}
    evaluations.store_baseline(connection, champion.model_name, champion.to_version, REFERENCE_KIND, "", numbers, now)


def predicted_counts_since(
    connection: Connection,
    champion: promotion_history.Promotion,
    reference: ReferenceMix | None,
    start: datetime,
    now: datetime,
) -> Mapping[str, BinCounts]:
    """The predictions of a window by class and bin of confidence, without the first ones they are compared with."""
    first = start if reference is None else max(start, reference.until)
    if first >= now:
        return {}
    return prediction_counts.class_counts(connection, champion.model_name, champion.to_version, first, now)


def advance_performance_estimator(
    connection: Connection,
    rule: Rule,
    calibration: ErrorByConfidence | None,
    champion: promotion_history.Promotion,
    now: datetime,
) -> detector_state.DetectorState | None:
    """The rule's detector after the minutes it had not read; None where the rule has none.

    At most MAX_ROWS_PER_READ rows are read: what is left waits for the next evaluation.
    """
    if rule.false_alarms is None or calibration is None:
        return None
    name, version, digest = champion.model_name, champion.to_version, detector_digest(rule, calibration)
    before = detector_state.load_state(connection, name, version, rule.name)
    if before is None or before.definition != digest:
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
    after, last = update_performance_detector(rule, calibration, detector, minutes, champion.at - INITIAL_BUDGET_PERIOD)
    cursor = before.cursor if last is None else last
    return detector_state.DetectorState(digest, cursor, {WHOLE_STREAM: after.to_json()})


def _label_counts(labels: Mapping[str, BinCounts]) -> dict[str, int]:
    return {label: sum(bins.values()) for label, bins in labels.items()}


def _confidence_counts(labels: Mapping[str, BinCounts]) -> BinCounts:
    total = Counter[int]()
    for bins in labels.values():
        total.update(bins)
    return total
