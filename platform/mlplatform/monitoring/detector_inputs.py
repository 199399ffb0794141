"""Reads the labels that came or matured since the last evaluation, and advances a rule's detectors over them."""

from datetime import datetime

from sqlalchemy import Connection

from mlplatform.alerting import detector_state
from mlplatform.clock import EPOCH
from mlplatform.feedback import outcomes
from mlplatform.monitoring.unlabelled_monitoring import INITIAL_BUDGET_PERIOD
from mlplatform.promotion import promotion_history
from monitors.decisions.detectors.label_detector import LabelDetector
from monitors.decisions.detectors.label_reading import EVERY_ANSWER, Reading, ReadPosition, plan_reading
from monitors.decisions.detectors.rule_detectors import detectors_digest, null_hypothesis, update_detectors
from monitors.rules.alerts_config import Rule
from monitors.rules.probation_policy import Probation
from monitors.rules.quantities import FalseAlarmBudget
from monitors.statistics.e_detector import Detector
from monitors.statistics.label_maturity import LabelLags
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Outcome

MAX_LABELS_PER_READ = 50_000
NO_LIMIT = 2**62
MAX_EARLIER_VERSIONS = 3
"""The labels of so many versions before tell a new one how late labels come."""


def label_detectors(state: detector_state.DetectorState) -> dict[str, LabelDetector]:
    """The detectors of a stored state of a rule on labels."""
    return {key: LabelDetector.from_json(numbers) for key, numbers in state.streams.items()}


def detectors_by_stream(rule: Rule, state: detector_state.DetectorState) -> dict[str, LabelDetector | Detector]:
    """The detectors of a stored state."""
    if rule.metric_spec.reads_labels:
        return {**label_detectors(state)}
    return {key: Detector.from_json(numbers) for key, numbers in state.streams.items()}


def advance_detectors(
    connection: Connection,
    rule: Rule,
    baseline: Baseline,
    champion: promotion_history.Promotion,
    classes: tuple[str, ...],
    now: datetime,
    probation: Probation | None = None,
    complete_until: datetime = EVERY_ANSWER,
) -> tuple[detector_state.DetectorState, Reading] | None:
    """The rule's detectors after the labels they had not read, and what was read; None where the rule has none.

    At most MAX_LABELS_PER_READ labels that came are read, and as many that were waiting: what is left waits for the
    next evaluation. With terms of probation, the detectors of a version that was promoted over another begin with more
    of their budget. Delayed labels of answers after `complete_until` wait.
    """
    if (
        rule.false_alarms is None
        or not (rule.uses_detector and rule.metric_spec.reads_labels)
        or null_hypothesis(rule, baseline) is None
    ):
        return None
    name, version, digest = champion.model_name, champion.to_version, detectors_digest(rule, baseline, classes)
    # Where reading goes on from: where it ended, or the beginning, with what is known of earlier versions' labels.
    before = detector_state.load_state(connection, name, version, rule.name)
    begins_anew = before is not None and before.definition != digest
    if before is None or begins_anew:
        position, detectors = (
            ReadPosition(lags={"delayed": earlier_lags(connection, champion)}),
            dict[str, LabelDetector](),
        )
    else:
        position, detectors = ReadPosition.from_json(before.cursor, before.reading), label_detectors(before)
    # Labels that came, and labels whose answers have matured since.
    rows = outcomes.outcomes_after(connection, name, version, position.cursor, MAX_LABELS_PER_READ)
    if complete_until != EVERY_ANSWER and len(rows) >= MAX_LABELS_PER_READ:
        complete_until = EPOCH  # labels of the same answers are still to be read: these move on when all are known
    reading = plan_reading(rule, position, rows, now, complete_until)
    matured, reading = _matured_outcomes(connection, champion, reading)

    def recent_rows() -> list[Outcome]:
        return outcomes.outcomes_up_to(connection, name, version, reading.after.cursor, MAX_LABELS_PER_READ)

    start = budget_start(rule.false_alarms, champion, probation)
    after = update_detectors(rule, baseline, classes, detectors, [*rows, *matured], reading, start, recent_rows)
    streams = {key: detector.to_json() for key, detector in after.items()}
    read = reading.after
    return detector_state.DetectorState(digest, read.cursor, streams, read.to_json(), begins_anew), reading


def earlier_lags(connection: Connection, champion: promotion_history.Promotion) -> LabelLags:
    """How late the delayed labels of the versions before came, as it was known when this one was promoted."""
    history = promotion_history.promotion_history(connection, champion.model_name)
    earlier = {promotion.to_version for promotion in history if promotion.seq < champion.seq} - {champion.to_version}
    newest = sorted(earlier)[-MAX_EARLIER_VERSIONS:]
    return outcomes.label_lags_before(connection, champion.model_name, newest, champion.at)


def _matured_outcomes(
    connection: Connection, champion: promotion_history.Promotion, reading: Reading
) -> tuple[list[Outcome], Reading]:
    """The rows on answers that matured in this step, and the step; cut short where these are too many at once."""
    span = reading.matured_span
    if span is None:
        return [], reading
    name, version = champion.model_name, champion.to_version
    rows = outcomes.outcomes_between(connection, name, version, *span, MAX_LABELS_PER_READ + 1)
    if len(rows) <= MAX_LABELS_PER_READ:
        return rows, reading
    last = rows[-1].at
    until = last - last.resolution if rows[0].at < last else last
    if until == last:
        rows = outcomes.outcomes_between(connection, name, version, last - last.resolution, last, NO_LIMIT)
    return rows, reading.limited_to(until)


def budget_start(
    budget: FalseAlarmBudget, champion: promotion_history.Promotion, probation: Probation | None
) -> datetime:
    """From when on the detectors of a version earn their budget: a while before it served, longer on probation."""
    if probation is None or champion.kind != "promote":
        return champion.at - INITIAL_BUDGET_PERIOD
    return champion.at - probation.initial_budget_period(INITIAL_BUDGET_PERIOD, budget.per_second)
