"""Writes the report behind an early warning: predictions or inputs beside the version's first ones."""

from collections.abc import Callable
from pathlib import Path

from mlplatform.alerting import evaluations
from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.feedback import labelled_predictions
from mlplatform.monitoring.input_drift import InputDriftMonitor
from mlplatform.monitoring.rule_inputs import reference_distribution
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import FeatureSample
from monitors.windows.window import Row, Window

ReportWriter = Callable[[AppContext, Rule, Window, Path], bool]


def write_drift_report(
    context: AppContext, rule: Rule, window: Window, path: Path, drift: InputDriftMonitor | None = None
) -> bool:
    """Write Evidently's comparison of an early rule's window at `path`; False where there is nothing to compare with.

    Answers: drift of classes, confidences and latencies, tested. Pictures: drift of each plain number.
    """
    if "pictures" in rule.metric_spec.data_needs:
        sides = (drift or InputDriftMonitor(context)).profiles(rule, window.end)
        return sides is not None and _write_input_drift_report(*sides, path)
    first = reference_window(context, window)
    if first is None or not first.rows or not window.rows:
        return False
    from monitors.windows.evidently_adapter import (
        write_window_comparison,  # several seconds of import: only processes that judge pay it
    )

    write_window_comparison(window, first, rule.sources, path)
    return True


def reference_window(context: AppContext, window: Window) -> Window | None:
    """The version's first answers; None before they are complete."""
    with context.database.read() as connection:
        first = reference_distribution(evaluations.load_baselines(connection, window.model, window.version))
        if first is None:
            return None
        predictions = labelled_predictions.load_labelled_predictions(
            connection, window.model, window.version, EPOCH, first.until
        )
    rows = tuple(Row(row.prediction_id, row.at, row.label, row.confidence, row.latency_ms) for row in predictions)
    return Window(window.model, window.version, window.classes, EPOCH, first.until, rows)


def _write_input_drift_report(reference: FeatureSample, newest: FeatureSample, path: Path) -> bool:
    from monitors.windows.evidently_adapter import write_feature_drift

    write_feature_drift(reference, newest, path)
    return True
