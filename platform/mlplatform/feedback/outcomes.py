"""Reads predictions whose truth is known: row by row for detectors, in the order they became known, and as counts.

A row has a sequence number per model. `outcome_updates` writes the rows.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, func, select, true, union_all
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from mlplatform.feedback.label_precedence import ESTIMATION_SOURCES
from mlplatform.feedback.outcome_counts import source_cells
from mlplatform.store import rollups
from mlplatform.store.tables.feedback import label_count_rollups, outcomes, sequence_counters
from monitors.rules.alerts_config import Source
from monitors.statistics.label_maturity import LabelLags
from monitors.windows.window_counts import LabelCount, Outcome

MAX_ROWS: Final = 20_000
"""As many labels of a window are read one by one where counts do not do."""
MAX_LAGS: Final = 1_000
"""As many of a version's newest labels tell how late labels come."""
NO_TAGS: Final[Mapping[str, str]] = {}


def latest_label_time(
    connection: Connection, model_name: str, version: int, sources: Collection[str], tags: Mapping[str, str] = NO_TAGS
) -> datetime | None:
    """When the last truth became known that may estimate, of these sources and tags; None before the first.

    Tags are looked for among the newest labels of each source only.
    """
    of_version = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version) & (outcomes.c.weight > 0)
    latest = []
    for source in sorted(sources):
        rows = select(outcomes.c.seq, outcomes.c.known_at, outcomes.c.tags).where(
            of_version, outcomes.c.source == source
        )
        newest = rows.order_by(outcomes.c.seq.desc()).limit(MAX_ROWS if tags else 1).subquery().c
        query = select(newest.seq, newest.known_at).where(*tag_conditions(tags, newest.tags))
        latest.append(select(query.order_by(newest.seq.desc()).limit(1).subquery()))
    found = connection.execute(union_all(*latest)).all()
    return max((row.seq, row.known_at) for row in found)[1] if found else None


def last_sequence(connection: Connection, model_name: str) -> int:
    """The newest sequence number of a model's labels, of whichever version; 0 before the first."""
    query = select(sequence_counters.c.value).where(sequence_counters.c.name == counter_name(model_name))
    return connection.scalar(query) or 0


def counter_name(model_name: str) -> str:
    """The name of the counter that numbers a model's outcomes."""
    return f"outcomes:{model_name}"


def outcomes_after(connection: Connection, model_name: str, version: int, cursor: int, limit: int) -> list[Outcome]:
    """The next rows of a version after a sequence number, in order, at most `limit`."""
    of_version = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version)
    query = select(outcomes).where(of_version, outcomes.c.seq > cursor).order_by(outcomes.c.seq).limit(limit)
    return [_outcome_from_row(row) for row in connection.execute(query).mappings()]


def outcomes_up_to(connection: Connection, model_name: str, version: int, cursor: int, limit: int) -> list[Outcome]:
    """The last rows of a version up to a sequence number, in order, at most `limit`."""
    of_version = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version)
    query = select(outcomes).where(of_version, outcomes.c.seq <= cursor).order_by(outcomes.c.seq.desc()).limit(limit)
    return [_outcome_from_row(row) for row in connection.execute(query).mappings()][::-1]


def outcomes_between(
    connection: Connection, model_name: str, version: int, after: datetime | None, until: datetime, limit: int
) -> list[Outcome]:
    """The rows on predictions that a version made after a moment and up to another, oldest first, at most `limit`."""
    query = select(outcomes).where(
        outcomes.c.model_name == model_name, outcomes.c.model_version == version, outcomes.c.at <= until
    )
    if after is not None:
        query = query.where(outcomes.c.at > after)
    query = query.order_by(outcomes.c.at, outcomes.c.seq).limit(limit)
    return [_outcome_from_row(row) for row in connection.execute(query).mappings()]


def label_lags_before(
    connection: Connection, model_name: str, versions: Iterable[int], moment: datetime, limit: int = MAX_LAGS
) -> LabelLags:
    """How late the newest delayed labels of these versions came, as far as it was known at a moment."""
    lags = LabelLags()
    for version in sorted(set(versions)):
        query = (
            select(outcomes.c.at, outcomes.c.known_at, outcomes.c.label, outcomes.c.truth)
            .where(
                outcomes.c.model_name == model_name,
                outcomes.c.model_version == version,
                outcomes.c.source == "delayed",
                outcomes.c.weight > 0,
                outcomes.c.known_at <= moment,
            )
            .order_by(outcomes.c.seq.desc())
            .limit(limit)
        )
        rows = reversed(connection.execute(query).all())
        lags = lags.add((row.at, row.known_at, row.label == row.truth) for row in rows)
    return lags


@dataclass(frozen=True)
class ErrorEstimate:
    """How many labels say how good a version has been since a moment, and the share that they find wrong."""

    labels: int
    error_share: float


def estimate_errors_since(
    connection: Connection,
    model_name: str,
    version: int,
    since: datetime,
    known_by: datetime | None = None,
    until: datetime | None = None,
) -> ErrorEstimate:
    """What labels on predictions made since a moment, up to `until`, say.

    Those of answers that were passed over for review say nothing.

    Labels of reviews weigh one over the chance of their answer to be drawn (Hájek's estimate), labels that arrive by
    themselves weigh alike, also on an answer that was reviewed as well; the two estimates are put together by how many
    labels made them. Counted as they lie, drawn labels would say that more is wrong than is: doubtful answers are drawn
    more often.
    """
    arrived = outcomes.c.seen.contains("delayed:")
    reviewed = (outcomes.c.source == "audit") & (outcomes.c.weight > 0)
    is_wrong = outcomes.c.label != outcomes.c.truth
    query = select(
        func.count().filter(reviewed | arrived).label("labels"),
        func.count().filter(arrived).label("arrived"),
        func.count().filter(arrived & is_wrong).label("arrived_wrong"),
        func.count().filter(reviewed).label("reviewed"),
        func.sum(outcomes.c.weight).filter(reviewed).label("weight"),
        func.sum(outcomes.c.weight).filter(reviewed & is_wrong).label("weight_wrong"),
    ).where(
        outcomes.c.model_name == model_name,
        outcomes.c.model_version == version,
        outcomes.c.at >= since,
        true() if until is None else outcomes.c.at <= until,
        outcomes.c.source.in_(ESTIMATION_SOURCES),
        outcomes.c.known_at <= known_by if known_by is not None else outcomes.c.known_at.is_not(None),
    )
    row = connection.execute(query).one()
    if not row.labels:
        return ErrorEstimate(0, 0.0)
    wrong = row.arrived_wrong + (row.reviewed * (row.weight_wrong or 0.0) / row.weight if row.reviewed else 0.0)
    return ErrorEstimate(row.labels, wrong / (row.arrived + row.reviewed))


def count_labelled(connection: Connection, model_name: str, until: datetime | None = None) -> int:
    """How many predictions of a model, those made up to `until`, have a truth."""
    query = select(func.count()).select_from(outcomes).where(outcomes.c.model_name == model_name)
    if until is not None:
        query = query.where(outcomes.c.at <= until)
    return connection.scalar(query) or 0


def find_unsampled(connection: Connection, prediction_ids: Iterable[str]) -> set[str]:
    """Those of the predictions whose audit label estimates nothing, because they were not drawn for review."""
    on_these = outcomes.c.prediction_id.in_(sorted(set(prediction_ids)))
    return set(connection.scalars(select(outcomes.c.prediction_id).where(on_these, outcomes.c.weight <= 0)))


def count_unsampled(connection: Connection, model_name: str) -> int:
    """How many audit labels of a model estimate nothing, because their predictions were not drawn for review."""
    unsampled = (
        (label_count_rollups.c.model_name == model_name)
        & (label_count_rollups.c.span == max(rollups.ROLLUP_SPANS))
        & (label_count_rollups.c.weight <= 0)
    )
    return int(connection.scalar(select(func.sum(label_count_rollups.c.n)).where(unsampled)) or 0)


def newest_outcomes(
    connection: Connection,
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    sources: Collection[str],
    tags: Mapping[str, str] = NO_TAGS,
    limit: int = MAX_ROWS,
) -> list[Outcome]:
    """The newest `limit` predictions made in [start, end) with these tags whose label may estimate, newest first."""
    query = _newest_outcomes_query(model_name, version, start, end, sources, tags, limit)
    return [_outcome_from_row(row) for row in connection.execute(query).mappings()]


def newest_label_counts(
    connection: Connection,
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    sources: Collection[str],
    tags: Mapping[str, str] = NO_TAGS,
    limit: int = MAX_ROWS,
) -> list[LabelCount]:
    """The same predictions, counted."""
    newest = _newest_outcomes_query(model_name, version, start, end, sources, tags, limit).subquery()
    counted = select(newest.c.source, *counted_classes(newest.c), newest.c.weight).subquery()
    columns = [counted.c[name] for name in ("source", "truth", "label", "weight")]
    query = select(*columns, func.count().label("n")).group_by(*columns).order_by(*columns)
    return [LabelCount(row.source, row.truth, row.label, row.weight, row.n) for row in connection.execute(query)]


def sliced_label_counts(
    connection: Connection,
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    source: Source,
    tags: Mapping[str, str],
    limit: int = MAX_ROWS,
) -> list[LabelCount]:
    """As `source_label_counts`, of the newest `limit` predictions that were sent with these tags."""
    newest = (
        select(*counted_classes(outcomes.c), outcomes.c.weight)
        .where(
            outcomes.c.model_name == model_name,
            outcomes.c.model_version == version,
            outcomes.c.at >= start,
            outcomes.c.at < end,
            outcomes.c.seen.contains(f"{source}:") if source in ESTIMATION_SOURCES else outcomes.c.source == source,
            outcomes.c.weight > 0 if source == "audit" else true(),
            *tag_conditions(tags),
        )
        .order_by(outcomes.c.at.desc(), outcomes.c.prediction_id.desc())
        .limit(limit)
        .subquery()
    )
    columns = [newest.c[name] for name in ("truth", "label", "weight")]
    rows = connection.execute(select(*columns, func.count().label("n")).group_by(*columns))
    return source_cells(((source, row.truth, row.label, row.weight, row.n) for row in rows), source)


def counted_classes(columns: ReadOnlyColumnCollection[str, Any]) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """What truth and answer are counted as, under the names `truth` and `label`: where nothing else is kept, itself."""
    truth = case((columns.truth_class == "", columns.truth), else_=columns.truth_class)
    label = case((columns.label_class == "", columns.label), else_=columns.label_class)
    return truth.label("truth"), label.label("label")


def tag_conditions(tags: Mapping[str, str], column: ColumnElement[Any] = outcomes.c.tags) -> list[ColumnElement[bool]]:
    """The conditions that a prediction was asked for with all of these tags."""
    return [column[name].as_string() == text for name, text in sorted(tags.items())]


def source_sequences(seen: str) -> dict[str, int]:
    """The sequence number that each source brought, as the column `seen` holds them: "delayed:10 audit:11"."""
    pairs = (pair.partition(":") for pair in seen.split())
    return {source: int(number) for source, _, number in pairs}


def _newest_outcomes_query(
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    sources: Collection[str],
    tags: Mapping[str, str],
    limit: int,
) -> Select[Any]:
    return (
        select(outcomes)
        .where(
            outcomes.c.model_name == model_name,
            outcomes.c.model_version == version,
            outcomes.c.at >= start,
            outcomes.c.at < end,
            outcomes.c.source.in_(sources),
            outcomes.c.weight > 0,
            *tag_conditions(tags),
        )
        .order_by(outcomes.c.at.desc(), outcomes.c.prediction_id.desc())
        .limit(limit)
    )


def _outcome_from_row(row: RowMapping) -> Outcome:
    return Outcome(
        seq=row["seq"],
        prediction_id=row["prediction_id"],
        at=row["at"],
        known_at=row["known_at"],
        label=row["label"],
        truth=row["truth"],
        source=row["source"],
        source_sequence=source_sequences(row["seen"]),
        confidence=row["confidence"],
        weight=row["weight"],
        share=row["share"],
        loss=row["loss"],
        truth_class=row["truth_class"],
        label_class=row["label_class"],
        tags=row["tags"] or {},
        request_id=row["request_id"],
    )
