"""Reads all that the decision about one rule rests on: counts, baseline, labels not read yet, open alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, detector_state, evaluations
from mlplatform.feedback import outcomes
from mlplatform.monitoring.row_inputs import RowEstimate, estimate_from_rows
from mlplatform.monitoring.unlabelled_monitoring import (
    INITIAL_BUDGET_PERIOD,
    advance_performance_estimator,
    compared_answers,
)
from mlplatform.predictions import prediction_counts, review_samples
from mlplatform.promotion import promotion_history
from monitors.alerts import Alert
from monitors.decisions.label_detector import LabelDetector
from monitors.decisions.label_reading import (
    Reading,
    ReadPosition,
    plan_reading,
    source_windows,
    waiting_sources,
    windows_since,
)
from monitors.decisions.rule_detectors import change_points_since, detectors_digest, null_hypothesis, update_detectors
from monitors.rules.alerts_config import Rule
from monitors.rules.probation_policy import Probation
from monitors.rules.quantities import FalseAlarmBudget
from monitors.statistics.e_detector import Detector
from monitors.statistics.label_maturity import LabelLags
from monitors.statistics.two_sample import InputComparison
from monitors.windows.window import Baseline, ErrorByConfidence, HostLatency
from monitors.windows.window_counts import (
    NO_ESTIMATE,
    EstimateFromRows,
    LabelCount,
    Outcome,
    SourceWindow,
    WindowCounts,
)
from registry.confidence_bins import CalibrationFit

if TYPE_CHECKING:
    from mlplatform.context import AppContext
    from mlplatform.monitoring.input_drift import InputDriftMonitor

MAX_LABELS_PER_READ = 50_000
NO_LIMIT = 2**62
MAX_EARLIER_VERSIONS = 3
"""The labels of so many versions before tell a new one how late labels come."""
BaselinesByKind = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class SlowInputs:
    """What takes seconds, and is computed before the transaction: an estimate from rows, a comparison of inputs."""

    row_estimate: RowEstimate | None = None
    input_comparison: InputComparison | None = None


@dataclass(frozen=True)
class RuleInputs:
    """All that the decision about one rule in one slot rests on.

    `detectors` are those after the labels they had not read, None for a rule without; `last_data_at` is when labels or
    predictions came last.
    """

    slot: datetime
    now: datetime
    champion: promotion_history.Promotion
    counts: WindowCounts
    baseline: Baseline
    last_data_at: datetime | None
    detectors: detector_state.DetectorState | None
    open_alerts: tuple[Alert, ...]
    rule_names: frozenset[str]
    instance: str


def load_slow_inputs(
    context: AppContext, rule: Rule, slot: datetime, now: datetime, drift: InputDriftMonitor
) -> SlowInputs:
    """Estimate from rows or compare inputs, where the rule asks for it; in no transaction, for it takes seconds."""
    needs = rule.metric_spec.data_needs
    if "sample" in needs:
        return SlowInputs(row_estimate=estimate_from_rows(context, rule, now))
    if "pictures" not in needs:
        return SlowInputs()
    with context.database.read() as connection:
        if evaluations.was_evaluated(connection, context.rules.model, rule.name, slot):
            return SlowInputs()
    return SlowInputs(input_comparison=drift.compare(rule, now))


def load_inputs(
    connection: Connection, context: AppContext, rule: Rule, slot: datetime, now: datetime, slow: SlowInputs
) -> RuleInputs | None:
    """Read everything; None without a champion, for a slot that is done, or if the champion changed meanwhile.

    Detectors read on here: which labels have to be counted again follows from the change that they find.
    """
    name, classes, needs = context.rules.model, context.pipeline.classes, rule.metric_spec.data_needs
    # Which version serves, and whether there is anything left to decide about it.
    champion = promotion_history.latest_promotion(connection, name)
    if champion is None or evaluations.was_evaluated(connection, name, rule.name, slot):
        return None
    if slow.row_estimate is not None and slow.row_estimate.version != champion.to_version:
        return None  # a new champion came while its predecessor's rows were measured
    # What the version is compared with.
    baseline = load_baseline(connection, champion)
    # What came since the last evaluation, each label or minute once.
    reading: Reading | None = None
    detectors: detector_state.DetectorState | None = None
    if "confidence" in needs:
        detectors = advance_performance_estimator(connection, rule, baseline.error_by_confidence, champion, now)
    else:
        advanced = advance_detectors(connection, rule, baseline, champion, classes, now, context.rules.probation)
        if advanced is not None:
            detectors, reading = advanced
    # What happened in the window.
    windows = source_windows(rule, reading, now)
    estimate = NO_ESTIMATE if slow.row_estimate is None else slow.row_estimate.estimate
    counts = load_counts(connection, classes, rule, champion, now, windows, estimate)
    waiting = waiting_sources(rule, reading)
    counts = replace(counts, input_comparison=slow.input_comparison, waiting_sources=waiting)
    if "classes" in needs:
        compared = compared_answers(connection, rule, champion, now)
        baseline = replace(baseline, reference_mix=compared.reference)
        counts = replace(counts, predictions_by_confidence=compared.window)
    if detectors is not None and reading is not None:
        counts = counts_since_change(connection, rule, champion, counts, label_detectors(detectors))
    return RuleInputs(
        slot=slot,
        now=now,
        champion=champion,
        counts=counts,
        baseline=baseline,
        last_data_at=_last_data_time(connection, rule, champion),
        detectors=detectors,
        open_alerts=tuple(alert_records.open_alerts(connection, name, lock=True)),
        rule_names=frozenset(watched.name for watched in context.rules.rules),
        instance=context.instance,
    )


def label_detectors(state: detector_state.DetectorState) -> dict[str, LabelDetector]:
    """The detectors of a stored state of a rule on labels."""
    return {key: LabelDetector.from_json(numbers) for key, numbers in state.streams.items()}


def detectors_by_stream(rule: Rule, state: detector_state.DetectorState) -> dict[str, LabelDetector | Detector]:
    """The detectors of a stored state."""
    if rule.metric_spec.reads_labels:
        return {**label_detectors(state)}
    return {key: Detector.from_json(numbers) for key, numbers in state.streams.items()}


def load_counts(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
    windows: Mapping[str, SourceWindow],
    estimate: EstimateFromRows = NO_ESTIMATE,
) -> WindowCounts:
    """The same window counted, which costs the same however many rows it holds; of a slice its newest labels.

    `windows` say which answers the labels of each source are counted of.
    """
    name, version, start, needs = (
        champion.model_name,
        champion.to_version,
        now - rule.window,
        rule.metric_spec.data_needs,
    )
    until = now - timedelta(seconds=rule.threshold) if "lags" in needs else now
    groups = _label_counts_by_group(connection, rule, champion, start, now) if "groups" in needs else {}
    return WindowCounts(
        model=name,
        version=version,
        classes=classes,
        start=start,
        end=now,
        predictions=prediction_counts.prediction_total(connection, name, version, start, now),
        labels=_label_counts(connection, rule, champion, windows) if rule.reads_labels and not groups else (),
        source_windows=windows if rule.reads_labels else {},
        latency=prediction_counts.latency_histograms(connection, name, version, start, now)
        if "latency" in needs
        else {},
        groups=groups,
        requests=prediction_counts.request_status_counts(connection, name, version, start, now)
        if "requests" in needs
        else {},
        lags=tuple(review_samples.label_lags(connection, name, version, (start, until), rule.sources, now))
        if until < now
        else (),
        row_estimate=estimate,
        predictions_by_confidence=prediction_counts.class_counts(connection, name, version, start, now)
        if "confidence" in needs
        else {},
        serving_since=champion.at,
    )


def counts_since_change(
    connection: Connection,
    rule: Rule,
    champion: promotion_history.Promotion,
    counts: WindowCounts,
    detector_states: Mapping[str, LabelDetector],
) -> WindowCounts:
    """The counts with the labels since the change that each alarmed detector has found."""
    windows = counts.source_windows
    start = min((window.start for window in windows.values()), default=counts.start)
    cells = {
        key: _label_counts(connection, rule, champion, windows_since(windows, moment))
        for key, moment in change_points_since(detector_states, start).items()
    }
    return replace(counts, since_change=cells)


def _label_counts(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, windows: Mapping[str, SourceWindow]
) -> tuple[LabelCount, ...]:
    """The labels of each source, on the answers of its window."""
    name, version, cells = champion.model_name, champion.to_version, list[LabelCount]()
    for source in rule.sources:
        if (window := windows.get(source)) is None:
            continue
        limits = (window.start, window.end)
        if rule.slice:
            cells += outcomes.sliced_label_counts(connection, name, version, *limits, source, rule.slice)
        else:
            cells += outcomes.source_label_counts(connection, name, version, *limits, source)
    return tuple(cells)


def _label_counts_by_group(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> dict[str, tuple[LabelCount, ...]]:
    """The newest labels of the window by what they have in the tag that names groups."""
    name, version = champion.model_name, champion.to_version
    groups = outcomes.newest_label_counts(connection, name, version, start, now, rule.sources, rule.slice, rule.by)
    return {group: cells for group, cells in groups.items() if group}


def _last_data_time(connection: Connection, rule: Rule, champion: promotion_history.Promotion) -> datetime | None:
    """When the rule had anything to decide from last: a label, or a prediction."""
    name, version = champion.model_name, champion.to_version
    if rule.reads_labels:
        return outcomes.latest_label_time(connection, name, version, rule.sources, rule.slice)
    return prediction_counts.last_prediction_minute(connection, name, version)


def load_baseline(connection: Connection, champion: promotion_history.Promotion) -> Baseline:
    """The numbers pinned when the version was promoted: golden counts, and latency by class of serving hosts."""
    kinds = evaluations.load_baselines(connection, champion.model_name, champion.to_version)
    accuracy = kinds.get("accuracy", {}).get("", {"correct": 0, "total": 0})
    hosts = kinds.get("latency", {})
    return Baseline(
        accuracy_correct=accuracy["correct"],
        accuracy_total=accuracy["total"],
        latency={host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in hosts.items()},
        error_by_confidence=calibration_baseline(kinds),
    )


def calibration_baseline(baselines: BaselinesByKind) -> ErrorByConfidence | None:
    """How often the version is wrong at each confidence, pinned when it was promoted."""
    numbers = baselines.get("calibration", {}).get("")
    if numbers is None:
        return None
    golden = {int(step): int(n) for step, n in numbers["golden"].items()}
    fit = CalibrationFit(numbers["offset"], numbers["slope"], numbers["rows"], golden)
    return ErrorByConfidence(fit.error_by_bin(), golden) if golden else None


def advance_detectors(
    connection: Connection,
    rule: Rule,
    baseline: Baseline,
    champion: promotion_history.Promotion,
    classes: tuple[str, ...],
    now: datetime,
    probation: Probation | None = None,
) -> tuple[detector_state.DetectorState, Reading] | None:
    """The rule's detectors after the labels they had not read, and what was read; None where the rule has none.

    At most MAX_LABELS_PER_READ labels that came are read, and as many that were waiting: what is left waits for the
    next evaluation. With terms of probation, the detectors of a version that was promoted over another begin with more
    of their budget.
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
    if before is not None and before.definition != digest:
        before = None
    if before is None:
        position, detectors = (
            ReadPosition(lags={"delayed": earlier_lags(connection, champion)}),
            dict[str, LabelDetector](),
        )
    else:
        position, detectors = ReadPosition.from_json(before.cursor, before.reading), label_detectors(before)
    # Labels that came, and labels whose answers have matured since.
    rows = outcomes.outcomes_after(connection, name, version, position.cursor, MAX_LABELS_PER_READ)
    reading = plan_reading(rule, position, rows, now)
    matured, reading = _matured_outcomes(connection, champion, reading)

    def recent_rows() -> list[Outcome]:
        return outcomes.outcomes_up_to(connection, name, version, reading.after.cursor, MAX_LABELS_PER_READ)

    start = budget_start(rule.false_alarms, champion, probation)
    after = update_detectors(rule, baseline, classes, detectors, [*rows, *matured], reading, start, recent_rows)
    streams = {key: detector.to_json() for key, detector in after.items()}
    return detector_state.DetectorState(digest, reading.after.cursor, streams, reading.after.to_json()), reading


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
