"""Writes the report behind an early warning: predictions or inputs beside those of the version's first days."""

from collections.abc import Callable
from pathlib import Path

from mlplatform.context import AppContext
from mlplatform.feedback import labelled_predictions
from mlplatform.monitoring.columns.column_samples import sample_columns
from mlplatform.monitoring.input_drift import InputDriftMonitor
from mlplatform.monitoring.reference_inputs import reference_period
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import FeatureSample
from monitors.windows.window import Row, Window

ReportWriter = Callable[[AppContext, Rule, Window, Path], bool]


def write_drift_report(
    context: AppContext, rule: Rule, window: Window, path: Path, drift: InputDriftMonitor | None = None
) -> bool:
    """Write Evidently's comparison of an early rule's window at `path`; False where there is nothing to compare with.

    Answers: drift of classes, confidences and latencies, tested. Pictures: drift of each plain number. Rows of a table:
    drift of each column.
    """
    if "columns" in rule.metric_spec.data_needs:
        return _write_column_report(context, rule, window, path)
    if "pictures" in rule.metric_spec.data_needs:
        sides = (drift or InputDriftMonitor(context)).profiles(rule, window.end)
        return sides is not None and _write_input_drift_report(*sides, path)
    first = reference_window(context, rule, window)
    if first is None or not first.rows or not window.rows:
        return False
    from monitors.windows.evidently_adapter import (
        write_window_comparison,  # several seconds of import: only processes that judge pay it
    )

    write_window_comparison(window, first, rule.sources, path)
    return True


def reference_window(context: AppContext, rule: Rule, window: Window) -> Window | None:
    """The predictions of the version's first days in the same hours as a window, the newest 20 000 of each stretch.

    None before the first days are over.
    """
    with context.database.read() as connection:
        period = reference_period(connection, window.model, window.version, rule.reference)
        compared = period.comparable_window(window.start, window.end)
        if compared is None:
            return None
        spans = period.matching_spans(compared)
        predictions = [
            row
            for span in spans
            for row in labelled_predictions.load_labelled_predictions(connection, window.model, window.version, *span)
        ]
        task = context.contracts.of(connection, window.model, window.version).task
    rows = tuple(
        Row(row.prediction_id, row.at, task.segment(row.label), row.confidence, row.latency_ms) for row in predictions
    )
    return Window(window.model, window.version, window.classes, period.start, period.end, rows)


def _write_column_report(context: AppContext, rule: Rule, window: Window, path: Path) -> bool:
    with context.database.read() as connection:
        samples = sample_columns(connection, context.contracts, rule, window)
    if samples is None:
        return False
    from monitors.windows.evidently_adapter import write_column_drift

    write_column_drift(*samples, path)
    return True


def _write_input_drift_report(reference: FeatureSample, newest: FeatureSample, path: Path) -> bool:
    from monitors.windows.evidently_adapter import write_feature_drift

    write_feature_drift(reference, newest, path)
    return True
