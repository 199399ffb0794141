"""What a decision rests on: the window, its baseline, Evidently's numbers and report; it decides nothing."""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from mlplatform.build import Parts
from mlplatform.store import evaluations, joined, promotions
from monitors.errors import MetricsError
from monitors.rules import Rule
from monitors.window import Baseline, Measured, Row, Window

log = logging.getLogger(__name__)
Measure = Callable[[Window, Rule, Path | None], Measured]


def window_of(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotions.Promotion,
    now: datetime,
) -> Window:
    """The champion's answers within the rule's window, with the labels that count."""
    start = now - rule.window
    rows = joined.window(connection, champion.model_name, champion.to_version, start, now)
    return Window(
        model=champion.model_name,
        version=champion.to_version,
        classes=classes,
        start=start,
        end=now,
        rows=tuple(
            Row(
                prediction_id=row.prediction_id,
                at=row.at,
                label=row.label,
                confidence=row.confidence,
                latency_ms=row.latency_ms,
                truth=None if row.truth is None else row.truth.label,
                truth_source=None if row.truth is None else row.truth.source,
            )
            for row in rows
        ),
    )


def baseline_of(connection: Connection, champion: promotions.Promotion) -> Baseline:
    """The numbers pinned when the version was promoted: golden counts, and the slowest serving host class."""
    kinds = evaluations.baselines_of(connection, champion.model_name, champion.to_version)
    accuracy = kinds.get("accuracy", {}).get("", {"correct": 0, "total": 0})
    hosts = kinds.get("latency", {})
    host = max(hosts, key=lambda name: float(hosts[name]["p95_ms"]), default=None)
    return Baseline(
        accuracy_correct=accuracy["correct"],
        accuracy_total=accuracy["total"],
        latency_p95_ms=None if host is None else hosts[host]["p95_ms"],
        latency_calls=0 if host is None else hosts[host]["calls"],
        host_class=host,
    )


def attempted(measure: Measure, window: Window, rule: Rule, report: Path | None) -> Measured | None:
    """The numbers, or None when they cannot be had: a full disk or a fault in Evidently must not silence an alert."""
    try:
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
        return measure(window, rule, report)
    except (OSError, MetricsError) as error:
        log.error("rule %s is decided from the exact counts alone: %s", rule.name, error)
        return None


def measured(window: Window, rule: Rule, report: Path | None) -> Measured:
    """Evidently's numbers for the window, and its HTML at `report` when a path is given."""
    from monitors.metrics import measure  # several seconds of import: only processes that judge pay it

    return measure(window, rule.sources, report)


def report_path(parts: Parts, rule: Rule, evaluation_id: str) -> Path:
    """Where this evaluation's report goes."""
    return (parts.settings.home / "reports" / f"{rule.name}-{evaluation_id}.html").resolve()


def prune_reports(parts: Parts) -> int:
    """Remove the oldest reports beyond the limit, but none that an open alert rests on; returns how many."""
    with parts.database.read() as connection:
        needed = {Path(path) for path in evaluations.reports_of_open_alerts(connection)}
    files = sorted((parts.settings.home / "reports").resolve().glob("*.html"), key=lambda path: path.stat().st_mtime)
    spare = [path for path in files[: -parts.settings.reports_kept] if path not in needed]
    for path in spare:
        path.unlink(missing_ok=True)
    return len(spare)
