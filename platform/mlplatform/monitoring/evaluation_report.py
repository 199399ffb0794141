"""Evidently's numbers and report behind an evaluation, written after its decision; and the pruning of old reports."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.monitoring.drift_report import ReportWriter, write_drift_report
from mlplatform.monitoring.report_files import deduplicate_scripts, write_text_report
from mlplatform.monitoring.row_inputs import load_window
from mlplatform.promotion import promotion_history
from mlplatform.serialization import to_jsonable
from monitors.errors import MetricsError
from monitors.rules.alerts_config import Rule
from monitors.windows.window import EvidentlyMetrics, Window

log = logging.getLogger(__name__)
REPORTED_STATES = ("breach", "suspect")
MISSED_REPORT_PERIOD = timedelta(days=1)
MeasureWindow = Callable[[Window, Rule, Path | None], EvidentlyMetrics]


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
        window = load_window(connection, context.contracts, rule, champion, evaluation.at)
        has_report = evaluation.state in REPORTED_STATES and evaluations.is_notable(connection, evaluation)
    path = report_path(context, rule, evaluation.id) if has_report else None
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
    """Write the reports that alerts lack: their watcher was killed before it could, or the disk was full."""
    with context.database.read() as connection:
        since = context.clock() - MISSED_REPORT_PERIOD
        missed = evaluations.unmeasured_triggers(connection, context.rules.model, rule.name, since)
    return [write_report(context, rule, evaluation, measure) for evaluation in missed]


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
    """Evidently's numbers for the window, and its HTML at `report` when a path is given; none for an empty window."""
    if not window.rows:
        return EvidentlyMetrics(0, 0, None, {}, None)
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
