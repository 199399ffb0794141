"""What a decision rests on: window, baseline and labels not yet read, and Evidently's part afterwards; no decision."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from mlplatform.build import Parts
from mlplatform.plain import plain
from mlplatform.store import detectors, evaluations, joined, judged, promotions, tallies
from monitors.errors import MetricsError
from monitors.finding import Finding, silence_of
from monitors.rules import Rule
from monitors.sequential import Detector
from monitors.tally import Tally
from monitors.watching import advance, definition, null_of
from monitors.window import Baseline, HostLatency, Measured, Row, Window

log = logging.getLogger(__name__)
READ_AT_ONCE = 50_000
HEAD_START = timedelta(hours=1)
"""A version begins with the false-alarm budget of one hour: else its very first labels could prove nothing."""
Measure = Callable[[Window, Rule, Path | None], Measured]


def window_of(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotions.Promotion,
    now: datetime,
) -> Window:
    """The champion's newest answers within the rule's window, with the labels that count: what Evidently measures."""
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


def tally_of(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotions.Promotion,
    now: datetime,
) -> Tally:
    """The same window counted, which costs the same however many rows it holds."""
    name, version, start = champion.model_name, champion.to_version, now - rule.window
    latency = tallies.latency(connection, name, version, start, now) if "latency" in rule.kind.needs else {}
    return Tally(
        model=name,
        version=version,
        classes=classes,
        start=start,
        end=now,
        answers=tallies.answers(connection, name, version, start, now),
        labels=tuple(judged.counted(connection, name, version, start, now)) if rule.kind.labels else (),
        latency=latency,
    )


def silence(connection: Connection, rule: Rule, tally: Tally, champion: promotions.Promotion) -> list[Finding]:
    """Whether the rule has gone without anything to decide from for too long, where it minds."""
    name, version = champion.model_name, champion.to_version
    if rule.kind.labels:
        last = judged.newest(connection, name, version, rule.sources)
    else:
        last = tallies.newest(connection, name, version)
    found = silence_of(rule, tally, max(last or champion.at, champion.at))
    return [] if found is None else [found]


def baseline_of(connection: Connection, champion: promotions.Promotion) -> Baseline:
    """The numbers pinned when the version was promoted: golden counts, and latency by class of serving hosts."""
    kinds = evaluations.baselines_of(connection, champion.model_name, champion.to_version)
    accuracy = kinds.get("accuracy", {}).get("", {"correct": 0, "total": 0})
    hosts = kinds.get("latency", {})
    return Baseline(
        accuracy_correct=accuracy["correct"],
        accuracy_total=accuracy["total"],
        latency={host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in hosts.items()},
    )


def read_labels(
    connection: Connection,
    rule: Rule,
    baseline: Baseline,
    champion: promotions.Promotion,
    classes: tuple[str, ...],
) -> detectors.Held | None:
    """What the rule's detectors remember after the labels they had not read; None where the rule has none.

    At most READ_AT_ONCE labels are read: what is left waits for the next evaluation.
    """
    if rule.false_alarms is None or null_of(rule, baseline) is None:
        return None
    name, version, digest = champion.model_name, champion.to_version, definition(rule, baseline, classes)
    held = detectors.held(connection, name, version, rule.name)
    if held is None or held.definition != digest:
        held = detectors.Held(digest, 0, {})
    rows = judged.since(connection, name, version, held.cursor, READ_AT_ONCE)
    before = {key: Detector.from_json(state) for key, state in held.streams.items()}
    after = advance(rule, baseline, classes, before, rows, champion.at - HEAD_START)
    cursor = rows[-1].seq if rows else held.cursor
    return detectors.Held(digest, cursor, {key: each.to_json() for key, each in after.items()})


def examine(
    parts: Parts, rule: Rule, evaluation: evaluations.Evaluation, measure: Measure | None = None
) -> evaluations.Evaluation:
    """Add Evidently's numbers to an evaluation, and its report where something may be wrong.

    The decision has been written by then: a fault in Evidently or a full disk delays no alert and undoes none. Returns
    the evaluation as it is kept then.
    """
    with parts.database.read() as connection:
        champion = promotions.latest(connection, evaluation.model_name)
        if champion is None or champion.to_version != evaluation.model_version:
            return evaluation
        window = window_of(connection, parts.family.classes, rule, champion, evaluation.at)
    path = report_path(parts, rule, evaluation.id) if evaluation.state in ("breach", "suspect") else None
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        numbers = (measure or measured)(window, rule, path)
        report = None if path is None or not path.is_file() else str(path)
        with parts.database.write() as connection:
            evaluations.add_measured(connection, evaluation.id, plain(numbers), report)
    except (OSError, MetricsError) as error:
        log.error("rule %s was decided, but not measured by Evidently: %s", rule.name, error)
        _discard(path)
        return evaluation
    except BaseException:
        _discard(path)
        raise
    if report is not None:
        prune_reports(parts)
    return replace(evaluation, measured=plain(numbers), report=report)


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


def _discard(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
