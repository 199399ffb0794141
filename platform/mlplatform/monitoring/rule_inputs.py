"""What a decision rests on: window, baseline and labels not yet read, and Evidently's part afterwards; no decision."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from mlplatform.alerting import detector_state, evaluations
from mlplatform.context import AppContext
from mlplatform.feedback import labelled_predictions, outcomes
from mlplatform.monitoring.drift_report import ReportWriter, write_drift_report
from mlplatform.monitoring.report_files import deduplicate_scripts, write_text_report
from mlplatform.monitoring.unlabelled_monitoring import calibration_baseline, reference_distribution
from mlplatform.predictions import prediction_counts, review_samples
from mlplatform.promotion import promotion_history
from mlplatform.serialization import to_jsonable
from monitors.decisions.finding import Finding, missing_data_of
from monitors.decisions.rule_detectors import change_points_since, detectors_digest, null_error_share, update_detectors
from monitors.errors import MetricsError
from monitors.rules.alerts_config import Rule
from monitors.rules.probation_policy import Probation
from monitors.rules.units import FalseAlarmBudget
from monitors.statistics.e_detector import Detector
from monitors.windows.user_metrics import estimate_rows
from monitors.windows.window import Baseline, EvidentlyMetrics, HostLatency, Row, Window
from monitors.windows.window_counts import NO_ESTIMATE, EstimateFromRows, LabelCount, Outcome, WindowCounts

log = logging.getLogger(__name__)
MAX_LABELS_PER_READ = 50_000
REPORTED_STATES = ("breach", "suspect")
MISSED_REPORT_PERIOD = timedelta(days=1)
INITIAL_BUDGET_PERIOD = timedelta(hours=1)
"""A version begins with the false-alarm budget of one hour: else its very first labels could prove nothing."""
MeasureWindow = Callable[[Window, Rule, Path | None], EvidentlyMetrics]


@dataclass(frozen=True)
class RowEstimate:
    """What was estimated from the newest rows of a version, before the decision."""

    version: int
    estimate: EstimateFromRows


def load_window(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
) -> Window:
    """The champion's newest answers within the rule's window and slice, with the labels that count."""
    start = now - rule.window
    rows = labelled_predictions.load_labelled_predictions(
        connection, champion.model_name, champion.to_version, start, now
    )
    return Window(
        model=champion.model_name,
        version=champion.to_version,
        classes=classes,
        start=start,
        end=now,
        rows=tuple(_to_row(row) for row in rows if row.tags.items() >= rule.slice.items()),
    )


def _to_row(row: labelled_predictions.LabelledPrediction) -> Row:
    return Row(
        prediction_id=row.prediction_id,
        at=row.at,
        label=row.label,
        confidence=row.confidence,
        latency_ms=row.latency_ms,
        truth=None if row.truth is None else row.truth.label,
        truth_source=None if row.truth is None else row.truth.source,
        tags=row.tags,
    )


def estimate_from_rows(context: AppContext, rule: Rule, now: datetime) -> RowEstimate | None:
    """What the rule's metric is over the newest rows of its window; None for rules that are decided by counts.

    It may take long, and runs code of somebody's own: so it is asked for before the transaction that decides.
    """
    if "sample" not in rule.metric_spec.data_needs:
        return None
    classes = context.pipeline.classes
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, context.rules.model)
        if champion is None:
            return None
        if rule.reads_labels:
            window = _load_labelled_window(connection, classes, rule, champion, now)
        else:
            window = load_window(connection, classes, rule, champion, now)
    sampled = estimate_rows(rule, window)
    if sampled.problem:
        log.error("rule %s decides nothing: %s", rule.name, sampled.problem)
    return RowEstimate(champion.to_version, sampled)


def _load_labelled_window(
    connection: Connection, classes: tuple[str, ...], rule: Rule, champion: promotion_history.Promotion, now: datetime
) -> Window:
    """The newest labelled answers of the rule's window and slice, each with the weight of its label."""
    name, version, start = champion.model_name, champion.to_version, now - rule.window
    found = outcomes.newest_outcomes(connection, name, version, start, now, rule.sources, rule.slice)
    rows = (
        Row(
            each.prediction_id,
            each.at,
            each.label,
            each.confidence,
            None,
            each.truth,
            each.source,
            each.weight,
            each.tags,
        )
        for each in found
    )
    return Window(name, version, classes, start, now, tuple(rows))


def load_counts(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
    estimate: EstimateFromRows = NO_ESTIMATE,
) -> WindowCounts:
    """The same window counted, which costs the same however many rows it holds; of a slice its newest labels."""
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
        labels=_label_counts(connection, rule, champion, start, now) if rule.reads_labels and not groups else (),
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
    detector_states: Mapping[str, Detector],
) -> WindowCounts:
    """The tally with the labels since the change that each alarmed detector has found."""
    changed = change_points_since(detector_states, counts.start)
    cells = {key: _label_counts(connection, rule, champion, moment, counts.end) for key, moment in changed.items()}
    return replace(counts, since_change=cells)


def _label_counts(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> tuple[LabelCount, ...]:
    name, version = champion.model_name, champion.to_version
    if not rule.slice:
        return tuple(outcomes.window_label_counts(connection, name, version, start, now))
    cells = outcomes.newest_label_counts(connection, name, version, start, now, rule.sources, rule.slice)
    return cells.get("", ())


def _label_counts_by_group(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> dict[str, tuple[LabelCount, ...]]:
    """The newest labels of the window by what they have in the tag that names groups."""
    name, version = champion.model_name, champion.to_version
    groups = outcomes.newest_label_counts(connection, name, version, start, now, rule.sources, rule.slice, rule.by)
    return {group: cells for group, cells in groups.items() if group}


def missing_data_finding(
    connection: Connection, rule: Rule, counts: WindowCounts, champion: promotion_history.Promotion
) -> list[Finding]:
    """Whether the rule has gone without anything to decide from for too long, where it minds."""
    name, version = champion.model_name, champion.to_version
    if rule.reads_labels:
        last = outcomes.latest_label_time(connection, name, version, rule.sources, rule.slice)
    else:
        last = prediction_counts.last_prediction_minute(connection, name, version)
    found = missing_data_of(rule, counts, last, champion.at)
    return [] if found is None else [found]


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
        reference_mix=reference_distribution(kinds),
    )


def advance_detectors(
    connection: Connection,
    rule: Rule,
    baseline: Baseline,
    champion: promotion_history.Promotion,
    classes: tuple[str, ...],
    probation: Probation | None = None,
) -> detector_state.DetectorState | None:
    """What the rule's detectors remember after the labels they had not read; None where the rule has none.

    At most READ_AT_ONCE labels are read: what is left waits for the next evaluation. With terms of probation, the
    detectors of a version that was promoted over another begin with more of their budget.
    """
    if (
        rule.false_alarms is None
        or not (rule.uses_detector and rule.metric_spec.reads_labels)
        or null_error_share(rule, baseline) is None
    ):
        return None
    name, version, digest = champion.model_name, champion.to_version, detectors_digest(rule, baseline, classes)
    held = detector_state.load_state(connection, name, version, rule.name)
    if held is None or held.definition != digest:
        held = detector_state.DetectorState(digest, 0, {})
    rows = outcomes.outcomes_after(connection, name, version, held.cursor, MAX_LABELS_PER_READ)
    before = {key: Detector.from_json(state) for key, state in held.streams.items()}
    cursor = rows[-1].seq if rows else held.cursor
    begun = budget_start(rule.false_alarms, champion, probation)

    def past() -> list[Outcome]:
        return outcomes.outcomes_up_to(connection, name, version, cursor, MAX_LABELS_PER_READ)

    after = update_detectors(rule, baseline, classes, before, rows, held.cursor, begun, past)
    return detector_state.DetectorState(digest, cursor, {key: each.to_json() for key, each in after.items()})


def budget_start(
    budget: FalseAlarmBudget, champion: promotion_history.Promotion, probation: Probation | None
) -> datetime:
    """From when on the detectors of a version earn their budget: a while before it served, longer on probation."""
    if probation is None or champion.kind != "promote":
        return champion.at - INITIAL_BUDGET_PERIOD
    return champion.at - probation.initial_budget_period(INITIAL_BUDGET_PERIOD, budget.per_second)


def write_report(
    context: AppContext,
    rule: Rule,
    evaluation: evaluations.Evaluation,
    measure: MeasureWindow | None = None,
    write_comparison: ReportWriter = write_drift_report,
) -> evaluations.Evaluation:
    """Add Evidently's numbers to an evaluation, and its report where something may be wrong that was not known before.

    Behind an early warning the report holds the window beside the version's first answers, where these are known.
    The decision has been written by then: a fault in Evidently or a full disk delays no alert and undoes none. Returns
    the evaluation as it is kept then.
    """
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, evaluation.model_name)
        if champion is None or champion.to_version != evaluation.model_version:
            return evaluation
        window = load_window(connection, context.pipeline.classes, rule, champion, evaluation.at)
        draws = evaluation.state in REPORTED_STATES and evaluations.is_notable(connection, evaluation)
    path = report_path(context, rule, evaluation.id) if draws else None
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside = (
            path is not None and rule.metric_spec.is_early_warning and write_comparison(context, rule, window, path)
        )
        numbers = (measure or measure_with_evidently)(window, rule, None if beside else path)
        if path is not None:
            _finish_report(path, rule, window)
        report = None if path is None else str(path)
        with context.database.write() as connection:
            evaluations.add_metrics(connection, evaluation.id, to_jsonable(numbers), report)
    except (OSError, MetricsError) as error:
        log.error("rule %s was decided, but not measured by Evidently: %s", rule.name, error)
        _discard(path)
        return evaluation
    except BaseException:
        _discard(path)
        raise
    if report is not None:
        prune_reports(context)
    return replace(evaluation, measured=to_jsonable(numbers), report=report)


def write_missing_reports(
    context: AppContext, rule: Rule, measure: MeasureWindow | None = None
) -> list[evaluations.Evaluation]:
    """Examine what made an alert fire and was not measured: its watcher was killed, or the disk was full."""
    with context.database.read() as connection:
        since = context.clock() - MISSED_REPORT_PERIOD
        missed = evaluations.unmeasured_triggers(connection, context.rules.model, rule.name, since)
    return [write_report(context, rule, each, measure) for each in missed]


def _finish_report(report: Path, rule: Rule, window: Window) -> None:
    """Make the report small; one sentence where Evidently had no rows to draw."""
    if report.is_file():
        deduplicate_scripts(report)
        return
    span = f"{window.start:%Y-%m-%d %H:%M} and {window.end:%Y-%m-%d %H:%M} UTC"
    rows = f"{len(window.rows)} answers" if window.rows else "no answer"
    title = f"{rule.name} · {window.model} version {window.version}"
    write_text_report(report, title, f"There is nothing to draw: {rows} between {span}.")


def measure_with_evidently(window: Window, rule: Rule, report: Path | None) -> EvidentlyMetrics:
    """Evidently's numbers for the window, and its HTML at `report` when a path is given."""
    from monitors.windows.evidently_adapter import (
        compute_metrics,  # several seconds of import: only processes that judge pay it
    )

    return compute_metrics(window, rule.sources, report)


def report_path(context: AppContext, rule: Rule, evaluation_id: str) -> Path:
    """Where this evaluation's report goes."""
    return (context.settings.home / "reports" / f"{rule.name}-{evaluation_id}.html").resolve()


def prune_reports(context: AppContext) -> int:
    """Remove the oldest reports beyond the limit, but none that made an alert fire; returns how many."""
    files = list((context.settings.home / "reports").resolve().glob("*.html"))
    with context.database.write() as connection:
        needed = evaluations.reports_of_alerts(connection)
        spare = sorted((path for path in files if str(path) not in needed), key=_modified_at)
        spare = spare[: -context.settings.reports_kept]
        for path in spare:
            evaluations.clear_report(connection, str(path))
    for path in spare:
        path.unlink(missing_ok=True)
    return len(spare)


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed by another process meanwhile
        return 0.0


def _discard(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
