"""What early warnings about answers rest on: minutes not read yet, answers by class, the first ones; no decision."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from mlplatform.alerting import detector_state, evaluations
from mlplatform.predictions import prediction_counts
from mlplatform.promotion import promotion_history
from monitors.decisions.drift import REFERENCE_PREDICTIONS
from monitors.decisions.performance_estimation import MinuteCounts, detector_digest, update_performance_detector
from monitors.decisions.rule_detectors import WHOLE_STREAM
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector
from monitors.windows.window import ErrorByConfidence, ReferenceMix
from monitors.windows.window_counts import BinCounts
from registry.confidence_bins import CalibrationFit

MAX_ROWS_PER_READ: Final = 10_000
SETTLE_DELAY: Final = timedelta(minutes=2)
"""A minute is read when it has been over for so long: servers write their answers a little later than they give them.
What comes later still, after a database was away, is missed by the detector, and is in the window."""
INITIAL_BUDGET_PERIOD: Final = timedelta(hours=1)
"""As for labels: a version begins with the false-alarm budget of one hour."""
BaselinesByKind = Mapping[str, Mapping[str, Mapping[str, Any]]]
REFERENCE_KIND: Final = "answers"


def calibration_baseline(baselines: BaselinesByKind) -> ErrorByConfidence | None:
    """What the version's confidence is worth, pinned when it was promoted."""
    numbers = baselines.get("calibration", {}).get("")
    if numbers is None:
        return None
    golden = {int(step): int(n) for step, n in numbers["golden"].items()}
    doubt = CalibrationFit(numbers["offset"], numbers["slope"], numbers["rows"], golden)
    return ErrorByConfidence(doubt.error_by_bin(), golden) if golden else None


def reference_distribution(baselines: BaselinesByKind) -> ReferenceMix | None:
    """The mix of the version's first answers, pinned when it was complete."""
    numbers = baselines.get(REFERENCE_KIND, {}).get("")
    if numbers is None:
        return None
    return ReferenceMix(numbers["shares"], prediction_counts.minute_start(numbers["until"]))


def store_reference_distribution(connection: Connection, champion: promotion_history.Promotion, now: datetime) -> None:
    """Keep the mix of the version's first FIRST_ANSWERS answers, in whole minutes, once there are as many."""
    name, version = champion.model_name, champion.to_version
    if REFERENCE_KIND in evaluations.load_baselines(connection, name, version):
        return
    shares, settled = Counter[str](), prediction_counts.minute_index(now - SETTLE_DELAY) - 1
    for minute, given in prediction_counts.class_counts_by_minute(
        connection, name, version, 0, settled, 2 * REFERENCE_PREDICTIONS
    ):
        shares.update(_label_counts(given))
        if shares.total() >= REFERENCE_PREDICTIONS:
            numbers = {"shares": dict(shares), "until": minute + 1}
            evaluations.store_baseline(connection, name, version, REFERENCE_KIND, "", numbers, now)
            return


def predicted_counts_since(
    connection: Connection,
    champion: promotion_history.Promotion,
    reference: ReferenceMix | None,
    start: datetime,
    now: datetime,
) -> Mapping[str, BinCounts]:
    """The answers of a window by class and step of confidence, without the first ones they are held against."""
    begun = start if reference is None else max(start, reference.until)
    return (
        {}
        if begun >= now
        else prediction_counts.class_counts(connection, champion.model_name, champion.to_version, begun, now)
    )


def advance_performance_estimator(
    connection: Connection,
    rule: Rule,
    calibration: ErrorByConfidence | None,
    champion: promotion_history.Promotion,
    now: datetime,
) -> detector_state.DetectorState | None:
    """What the rule's detector remembers after the minutes it had not read; None where the rule has none.

    At most READ_AT_ONCE rows are read: what is left waits for the next evaluation.
    """
    if rule.false_alarms is None or calibration is None:
        return None
    name, version, digest = champion.model_name, champion.to_version, detector_digest(rule, calibration)
    held = detector_state.load_state(connection, name, version, rule.name)
    if held is None or held.definition != digest:
        held = detector_state.DetectorState(digest, 0, {})
    settled = prediction_counts.minute_index(now - SETTLE_DELAY) - 1
    minutes = [
        MinuteCounts(number, prediction_counts.minute_start(number + 1), _confidence_counts(given))
        for number, given in prediction_counts.class_counts_by_minute(
            connection, name, version, held.cursor, settled, MAX_ROWS_PER_READ
        )
    ]
    before = held.streams.get(WHOLE_STREAM)
    state = None if before is None else Detector.from_json(before)
    after, last = update_performance_detector(rule, calibration, state, minutes, champion.at - INITIAL_BUDGET_PERIOD)
    return detector_state.DetectorState(digest, held.cursor if last is None else last, {WHOLE_STREAM: after.to_json()})


def _label_counts(given: Mapping[str, BinCounts]) -> dict[str, int]:
    return {label: sum(steps.values()) for label, steps in given.items()}


def _confidence_counts(given: Mapping[str, BinCounts]) -> BinCounts:
    every = Counter[int]()
    for steps in given.values():
        every.update(steps)
    return every
