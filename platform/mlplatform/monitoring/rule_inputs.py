"""Reads all that the decision about one rule rests on: counts, baseline, labels not read yet, open alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, detector_state, evaluations
from mlplatform.feedback import outcome_counts, outcomes
from mlplatform.feedback.absent_labels import known_until
from mlplatform.monitoring.columns.column_inputs import load_columns
from mlplatform.monitoring.detector_inputs import advance_detectors, label_detectors
from mlplatform.monitoring.row_inputs import RowEstimate, estimate_from_rows
from mlplatform.monitoring.unlabelled_monitoring import (
    advance_performance_estimator,
    compared_answers,
)
from mlplatform.predictions import prediction_counts, review_samples
from mlplatform.promotion import promotion_history
from mlplatform.store.version_contracts import VersionContracts
from monitors.alerts import Alert
from monitors.decisions.detectors.label_detector import LabelDetector
from monitors.decisions.detectors.label_reading import (
    EVERY_ANSWER,
    Reading,
    source_windows,
    waiting_sources,
    windows_since,
)
from monitors.decisions.detectors.rule_detectors import change_points_since
from monitors.decisions.group_gap import count_by_group
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import InputComparison
from monitors.windows.window import Baseline, ErrorByConfidence, HostLatency
from monitors.windows.window_counts import (
    NO_ESTIMATE,
    EstimateFromRows,
    LabelCount,
    SourceWindow,
    WindowCounts,
)
from registry.confidence_bins import CalibrationFit

if TYPE_CHECKING:
    from mlplatform.context import AppContext
    from mlplatform.monitoring.input_drift import InputDriftMonitor

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
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, context.rules.model)
        if champion is not None:  # so that nobody waits for the registry in the transaction that decides
            context.contracts.of(connection, champion.model_name, champion.to_version)
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
    name, needs = context.rules.model, rule.metric_spec.data_needs
    # Which version serves, and whether there is anything left to decide about it.
    champion = promotion_history.latest_promotion(connection, name)
    if champion is None or evaluations.was_evaluated(connection, name, rule.name, slot):
        return None
    if slow.row_estimate is not None and slow.row_estimate.version != champion.to_version:
        return None  # a new champion came while its predecessor's rows were measured
    classes = context.contracts.classes_of(connection, name, champion.to_version)
    costs = load_costs(connection, context.contracts, champion, classes) if "costs" in needs else {}
    # What the version is compared with.
    baseline = load_baseline(connection, champion)
    # What came since the last evaluation, each label or minute once.
    absent = context.rules.absent
    complete_until = EVERY_ANSWER if absent is None else known_until(connection, name, absent, now)
    reading: Reading | None = None
    detectors: detector_state.DetectorState | None = None
    if "confidence" in needs:
        detectors = advance_performance_estimator(connection, rule, baseline, champion, now)
    else:
        advanced = advance_detectors(
            connection, rule, baseline, champion, classes, now, context.rules.probation, complete_until
        )
        if advanced is not None:
            detectors, reading = advanced
    # What happened in the window.
    windows = source_windows(rule, reading, now, complete_until)
    estimate = NO_ESTIMATE if slow.row_estimate is None else slow.row_estimate.estimate
    counts = load_counts(connection, classes, rule, champion, now, windows, estimate)
    waiting = waiting_sources(rule, reading)
    counts = replace(counts, input_comparison=slow.input_comparison, waiting_sources=waiting, costs=costs)
    if "columns" in needs:
        counts = replace(counts, columns=load_columns(connection, context.contracts, rule, champion, now))
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


def load_costs(
    connection: Connection, contracts: VersionContracts, champion: promotion_history.Promotion, classes: Sequence[str]
) -> dict[tuple[str, str], float]:
    """The losses of the version's mistakes, by what truth and answer are counted as, where they are not 1."""
    task = contracts.of(connection, champion.model_name, champion.to_version).task
    if not task.has_costs:
        return {}
    mistakes = ((truth, answer) for truth in classes for answer in classes if truth != answer)
    losses = ((pair, task.counted_loss(*pair)) for pair in mistakes)
    return {pair: loss for pair, loss in losses if loss != 1.0}


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
            cells += outcome_counts.source_label_counts(connection, name, version, *limits, source)
    return tuple(cells)


def _label_counts_by_group(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> dict[str, tuple[LabelCount, ...]]:
    """The newest labels of the window by what they have in the tag that names groups."""
    assert rule.by is not None  # a rule that compares groups names their tag
    name, version = champion.model_name, champion.to_version
    rows = outcomes.newest_outcomes(connection, name, version, start, now, rule.sources, rule.slice)
    return {group: cells for group, cells in count_by_group(rows, rule.by, rule.block).items() if group}


def _last_data_time(connection: Connection, rule: Rule, champion: promotion_history.Promotion) -> datetime | None:
    """When the rule had anything to decide from last: a label, or a prediction."""
    name, version = champion.model_name, champion.to_version
    if rule.reads_labels:
        return outcomes.latest_label_time(connection, name, version, rule.sources, rule.slice)
    return prediction_counts.last_prediction_minute(connection, name, version)


def load_baseline(connection: Connection, champion: promotion_history.Promotion) -> Baseline:
    """The numbers pinned when the version was promoted: golden counts, and latency by class of serving hosts."""
    kinds = evaluations.load_baselines(connection, champion.model_name, champion.to_version)
    baseline = make_baseline(kinds.get("accuracy", {}).get(""), kinds.get("latency", {}))
    return replace(baseline, error_by_confidence=calibration_baseline(kinds))


def make_baseline(accuracy: Mapping[str, Any] | None, hosts: Mapping[str, Mapping[str, Any]]) -> Baseline:
    """The baseline of pinned numbers: those of the golden set, if there were any, and of latency by class of hosts."""
    golden = {"correct": 0, "total": 0, **(accuracy or {})}
    return Baseline(
        accuracy_correct=golden["correct"],
        accuracy_total=golden["total"],
        latency={host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in hosts.items()},
        golden_versions=golden.get("versions", 1),
        golden_losses={float(loss): rows for loss, rows in golden.get("losses", {}).items()},
    )


def calibration_baseline(baselines: BaselinesByKind) -> ErrorByConfidence | None:
    """How often the version is wrong at each confidence, pinned when it was promoted."""
    numbers = baselines.get("calibration", {}).get("")
    if numbers is None:
        return None
    golden = {int(step): int(n) for step, n in numbers["golden"].items()}
    fit = CalibrationFit(numbers["offset"], numbers["slope"], numbers["rows"], golden)
    return ErrorByConfidence(fit.error_by_bin(), golden) if golden else None
