"""What a decision rests on: window, baseline and labels not yet read, and Evidently's part afterwards; no decision."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from mlplatform.alerting import detector_state, evaluations
from mlplatform.context import Parts
from mlplatform.feedback import labelled_predictions, outcomes
from mlplatform.monitoring.drift_report import Draw, draw
from mlplatform.monitoring.report_files import share_scripts, write_sentence
from mlplatform.monitoring.unlabelled_monitoring import doubts_of, first_of
from mlplatform.predictions import prediction_counts, review_samples
from mlplatform.promotion import promotion_history
from mlplatform.serialization import plain
from monitors.decisions.finding import Finding, silence_of
from monitors.decisions.rule_detectors import advance, changed_since, definition, null_of
from monitors.errors import MetricsError
from monitors.rules.alerts_config import Rule
from monitors.rules.probation_policy import Probation
from monitors.rules.units import Budget
from monitors.statistics.e_detector import Detector
from monitors.windows.user_metrics import measure_rows
from monitors.windows.window import Baseline, HostLatency, Measured, Row, Window
from monitors.windows.window_counts import NO_SAMPLE, Judged, LabelCount, Sampled, Tally

log = logging.getLogger(__name__)
READ_AT_ONCE = 50_000
REPORTED = ("breach", "suspect")
MISSED_FOR = timedelta(days=1)
HEAD_START = timedelta(hours=1)
"""A version begins with the false-alarm budget of one hour: else its very first labels could prove nothing."""
Measure = Callable[[Window, Rule, Path | None], Measured]


@dataclass(frozen=True)
class Sample:
    """What was estimated from the newest rows of a version, before the decision."""

    version: int
    sampled: Sampled


def window_of(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
) -> Window:
    """The champion's newest answers within the rule's window and slice, with the labels that count."""
    start = now - rule.window
    rows = labelled_predictions.window(connection, champion.model_name, champion.to_version, start, now)
    return Window(
        model=champion.model_name,
        version=champion.to_version,
        classes=classes,
        start=start,
        end=now,
        rows=tuple(_row(row) for row in rows if row.tags.items() >= rule.slice.items()),
    )


def _row(row: labelled_predictions.JoinedRow) -> Row:
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


def sample_of(parts: Parts, rule: Rule, now: datetime) -> Sample | None:
    """What the rule's metric is over the newest rows of its window; None for rules that are decided by counts.

    It may take long, and runs code of somebody's own: so it is asked for before the transaction that decides.
    """
    if "sample" not in rule.kind.needs:
        return None
    classes = parts.family.classes
    with parts.database.read() as connection:
        champion = promotion_history.latest(connection, parts.rules.model)
        if champion is None:
            return None
        if rule.reads_labels:
            window = _labelled(connection, classes, rule, champion, now)
        else:
            window = window_of(connection, classes, rule, champion, now)
    sampled = measure_rows(rule, window)
    if sampled.fault:
        log.error("rule %s decides nothing: %s", rule.name, sampled.fault)
    return Sample(champion.to_version, sampled)


def _labelled(
    connection: Connection, classes: tuple[str, ...], rule: Rule, champion: promotion_history.Promotion, now: datetime
) -> Window:
    """The newest labelled answers of the rule's window and slice, each with the weight of its label."""
    name, version, start = champion.model_name, champion.to_version, now - rule.window
    found = outcomes.inside(connection, name, version, start, now, rule.sources, rule.slice)
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


def tally_of(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
    sampled: Sampled = NO_SAMPLE,
) -> Tally:
    """The same window counted, which costs the same however many rows it holds; of a slice its newest labels."""
    name, version, start, needs = champion.model_name, champion.to_version, now - rule.window, rule.kind.needs
    until = now - timedelta(seconds=rule.threshold) if "lags" in needs else now
    groups = _by_tag(connection, rule, champion, start, now) if "groups" in needs else {}
    return Tally(
        model=name,
        version=version,
        classes=classes,
        start=start,
        end=now,
        answers=prediction_counts.answers(connection, name, version, start, now),
        labels=_labels(connection, rule, champion, start, now) if rule.reads_labels and not groups else (),
        latency=prediction_counts.latency(connection, name, version, start, now) if "latency" in needs else {},
        groups=groups,
        requests=prediction_counts.requests(connection, name, version, start, now) if "requests" in needs else {},
        lags=tuple(review_samples.waits(connection, name, version, (start, until), rule.sources, now))
        if until < now
        else (),
        sampled=sampled,
        given=prediction_counts.labels(connection, name, version, start, now) if "confidence" in needs else {},
        serving_since=champion.at,
    )


def since_change(
    connection: Connection,
    rule: Rule,
    champion: promotion_history.Promotion,
    tally: Tally,
    held: Mapping[str, Detector],
) -> Tally:
    """The tally with the labels since the change that each alarmed detector has found."""
    changed = changed_since(held, tally.start)
    cells = {key: _labels(connection, rule, champion, moment, tally.end) for key, moment in changed.items()}
    return replace(tally, since_change=cells)


def _labels(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> tuple[LabelCount, ...]:
    name, version = champion.model_name, champion.to_version
    if not rule.slice:
        return tuple(outcomes.counted(connection, name, version, start, now))
    cells = outcomes.counted_inside(connection, name, version, start, now, rule.sources, rule.slice)
    return cells.get("", ())


def _by_tag(
    connection: Connection, rule: Rule, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> dict[str, tuple[LabelCount, ...]]:
    """The newest labels of the window by what they have in the tag that names groups."""
    name, version = champion.model_name, champion.to_version
    groups = outcomes.counted_inside(connection, name, version, start, now, rule.sources, rule.slice, rule.by)
    return {group: cells for group, cells in groups.items() if group}


def silence(connection: Connection, rule: Rule, tally: Tally, champion: promotion_history.Promotion) -> list[Finding]:
    """Whether the rule has gone without anything to decide from for too long, where it minds."""
    name, version = champion.model_name, champion.to_version
    if rule.reads_labels:
        last = outcomes.newest(connection, name, version, rule.sources, rule.slice)
    else:
        last = prediction_counts.newest(connection, name, version)
    found = silence_of(rule, tally, last, champion.at)
    return [] if found is None else [found]


def baseline_of(connection: Connection, champion: promotion_history.Promotion) -> Baseline:
    """The numbers pinned when the version was promoted: golden counts, and latency by class of serving hosts."""
    kinds = evaluations.baselines_of(connection, champion.model_name, champion.to_version)
    accuracy = kinds.get("accuracy", {}).get("", {"correct": 0, "total": 0})
    hosts = kinds.get("latency", {})
    return Baseline(
        accuracy_correct=accuracy["correct"],
        accuracy_total=accuracy["total"],
        latency={host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in hosts.items()},
        doubts=doubts_of(kinds),
        first=first_of(kinds),
    )


def read_labels(
    connection: Connection,
    rule: Rule,
    baseline: Baseline,
    champion: promotion_history.Promotion,
    classes: tuple[str, ...],
    terms: Probation | None = None,
) -> detector_state.Held | None:
    """What the rule's detectors remember after the labels they had not read; None where the rule has none.

    At most READ_AT_ONCE labels are read: what is left waits for the next evaluation. With terms of probation, the
    detectors of a version that was promoted over another begin with more of their budget.
    """
    if rule.false_alarms is None or not (rule.detects and rule.kind.labels) or null_of(rule, baseline) is None:
        return None
    name, version, digest = champion.model_name, champion.to_version, definition(rule, baseline, classes)
    held = detector_state.held(connection, name, version, rule.name)
    if held is None or held.definition != digest:
        held = detector_state.Held(digest, 0, {})
    rows = outcomes.since(connection, name, version, held.cursor, READ_AT_ONCE)
    before = {key: Detector.from_json(state) for key, state in held.streams.items()}
    cursor = rows[-1].seq if rows else held.cursor
    begun = begun_at(rule.false_alarms, champion, terms)

    def past() -> list[Judged]:
        return outcomes.up_to(connection, name, version, cursor, READ_AT_ONCE)

    after = advance(rule, baseline, classes, before, rows, held.cursor, begun, past)
    return detector_state.Held(digest, cursor, {key: each.to_json() for key, each in after.items()})


def begun_at(budget: Budget, champion: promotion_history.Promotion, terms: Probation | None) -> datetime:
    """From when on the detectors of a version earn their budget: a while before it served, longer on probation."""
    if terms is None or champion.kind != "promote":
        return champion.at - HEAD_START
    return champion.at - terms.head_start(HEAD_START, budget.per_second)


def examine(
    parts: Parts,
    rule: Rule,
    evaluation: evaluations.Evaluation,
    measure: Measure | None = None,
    compare: Draw = draw,
) -> evaluations.Evaluation:
    """Add Evidently's numbers to an evaluation, and its report where something may be wrong that was not known before.

    Behind an early warning the report holds the window beside the version's first answers, where these are known.
    The decision has been written by then: a fault in Evidently or a full disk delays no alert and undoes none. Returns
    the evaluation as it is kept then.
    """
    with parts.database.read() as connection:
        champion = promotion_history.latest(connection, evaluation.model_name)
        if champion is None or champion.to_version != evaluation.model_version:
            return evaluation
        window = window_of(connection, parts.family.classes, rule, champion, evaluation.at)
        draws = evaluation.state in REPORTED and evaluations.is_news(connection, evaluation)
    path = report_path(parts, rule, evaluation.id) if draws else None
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside = path is not None and rule.kind.early and compare(parts, rule, window, path)
        numbers = (measure or measured)(window, rule, None if beside else path)
        if path is not None:
            _finish(path, rule, window)
        report = None if path is None else str(path)
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


def examine_missed(parts: Parts, rule: Rule, measure: Measure | None = None) -> list[evaluations.Evaluation]:
    """Examine what made an alert fire and was not measured: its watcher was killed, or the disk was full."""
    with parts.database.read() as connection:
        since = parts.clock() - MISSED_FOR
        missed = evaluations.unmeasured_causes(connection, parts.rules.model, rule.name, since)
    return [examine(parts, rule, each, measure) for each in missed]


def _finish(report: Path, rule: Rule, window: Window) -> None:
    """Make the report small; one sentence where Evidently had no rows to draw."""
    if report.is_file():
        share_scripts(report)
        return
    span = f"{window.start:%Y-%m-%d %H:%M} and {window.end:%Y-%m-%d %H:%M} UTC"
    rows = f"{len(window.rows)} answers" if window.rows else "no answer"
    title = f"{rule.name} · {window.model} version {window.version}"
    write_sentence(report, title, f"There is nothing to draw: {rows} between {span}.")


def measured(window: Window, rule: Rule, report: Path | None) -> Measured:
    """Evidently's numbers for the window, and its HTML at `report` when a path is given."""
    from monitors.windows.evidently_adapter import (
        measure,  # several seconds of import: only processes that judge pay it
    )

    return measure(window, rule.sources, report)


def report_path(parts: Parts, rule: Rule, evaluation_id: str) -> Path:
    """Where this evaluation's report goes."""
    return (parts.settings.home / "reports" / f"{rule.name}-{evaluation_id}.html").resolve()


def prune_reports(parts: Parts) -> int:
    """Remove the oldest reports beyond the limit, but none that made an alert fire; returns how many."""
    files = list((parts.settings.home / "reports").resolve().glob("*.html"))
    with parts.database.write() as connection:
        needed = evaluations.reports_behind_alerts(connection)
        spare = sorted((path for path in files if str(path) not in needed), key=_modified)
        spare = spare[: -parts.settings.reports_kept]
        for path in spare:
            evaluations.forget_report(connection, str(path))
    for path in spare:
        path.unlink(missing_ok=True)
    return len(spare)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed by another process meanwhile
        return 0.0


def _discard(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
