"""What people see behind an early warning: answers or pictures beside the version's first ones; it judges nothing."""

from collections.abc import Callable
from pathlib import Path

from mlplatform.alerting import evaluations
from mlplatform.clock import EPOCH
from mlplatform.context import Parts
from mlplatform.feedback import labelled_predictions
from mlplatform.monitoring.input_drift import Looker
from mlplatform.monitoring.unlabelled_monitoring import first_of
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import Profile
from monitors.windows.window import Row, Window

Draw = Callable[[Parts, Rule, Window, Path], bool]


def draw(parts: Parts, rule: Rule, window: Window, path: Path, drift: Looker | None = None) -> bool:
    """Write Evidently's comparison of an early rule's window at `path`; False where there is nothing to compare with.

    Answers: drift of classes, confidences and latencies, tested. Pictures: drift of each plain number.
    """
    if "pictures" in rule.kind.needs:
        sides = (drift or Looker(parts)).profiles(rule, window.end)
        return sides is not None and _drawn_pictures(*sides, path)
    first = first_window(parts, window)
    if first is None or not first.rows or not window.rows:
        return False
    from monitors.windows.evidently_adapter import (
        html_report,  # several seconds of import: only processes that judge pay it
    )

    html_report(window, first, rule.sources, path)
    return True


def first_window(parts: Parts, window: Window) -> Window | None:
    """The version's first answers; None before they are complete."""
    with parts.database.read() as connection:
        first = first_of(evaluations.baselines_of(connection, window.model, window.version))
        if first is None:
            return None
        found = labelled_predictions.window(connection, window.model, window.version, EPOCH, first.until)
    rows = tuple(_row(each) for each in found)
    return Window(window.model, window.version, window.classes, EPOCH, first.until, rows)


def _row(found: labelled_predictions.JoinedRow) -> Row:
    return Row(found.prediction_id, found.at, found.label, found.confidence, found.latency_ms)


def _drawn_pictures(first: Profile, newest: Profile, path: Path) -> bool:
    from monitors.windows.evidently_adapter import drift_report

    drift_report(first, newest, path)
    return True
