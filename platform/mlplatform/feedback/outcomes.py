"""Answers whose truth has become known, in the order it did: what detectors read once, and counts for windows.

`refresh` is called in the transaction that took the labels. It holds the model's counter until that commits, so the
numbers of rows become visible in their order, and a reader with a cursor misses none. A row gets a new number only
when its truth comes from a source it never came from before; `seen` keeps the number each source brought, so that a
reader who takes several sources passes over what it has read already, and over nothing else.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.predictions.prediction_counts import minute_index
from mlplatform.predictions.review_samples import InclusionWeight
from mlplatform.store import rollups
from mlplatform.store.database import insert_into
from mlplatform.store.tables.feedback import feedback, label_count_rollups, label_counts, outcomes, sequence_counters
from mlplatform.store.tables.predictions import predictions
from monitors.windows.window_counts import LabelCount, Outcome

BATCH_SIZE = 5_000
ESTIMATION_SOURCES = ("audit", "delayed")
"""The sources whose labels say how good a model is; a correction was picked for being an error."""
MAX_ROWS: Final = 20_000
"""As many labels of a window are read one by one where counts do not do."""
NO_TAGS: Final[Mapping[str, str]] = {}
UNIT_WEIGHT = InclusionWeight(1.0, 1.0)
"""The weight of a label whose answer nobody drew: it stands for itself."""
ZERO_WEIGHT = InclusionWeight(0.0, 0.0)
"""The weight of an audit label on an answer that was passed over while answers were drawn: it would mislead."""
LabelCountKey = tuple[str, int, int, str, str, str, float]


def update_outcomes(connection: Connection, prediction_ids: Iterable[str], known_at: datetime) -> int:
    """Bring the rows of these predictions up to date with their labels; returns how many got a number."""
    wanted, numbered = sorted(set(prediction_ids)), 0
    for first in range(0, len(wanted), BATCH_SIZE):
        numbered += _update_batch(connection, wanted[first : first + BATCH_SIZE], known_at)
    return numbered


def _update_batch(connection: Connection, ids: Sequence[str], known_at: datetime) -> int:
    answers = {row["id"]: row for row in _load_predictions(connection, ids)}
    for model in sorted({row["model_name"] for row in answers.values()}):
        _advance_counter(connection, model, 0)  # waits here for whoever else labels this model
    held = {
        row["prediction_id"]: row
        for row in connection.execute(select(outcomes).where(outcomes.c.prediction_id.in_(ids))).mappings()
    }
    changes: Counter[LabelCountKey] = Counter()
    fresh: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    chances = review_samples.inclusion_weights(connection, ids)
    drawn_since = {
        (model, version): sampling_plans.first_published_at(connection, model, version)
        for model, version in {(row["model_name"], row["model_version"]) for row in answers.values()}
    }
    for key, truth in sorted(_load_truths(connection, ids).items()):
        before, answer = held.get(key), answers[key]
        if before is not None and (before["truth"], before["source"]) == (truth.label, truth.source):
            continue
        chance = UNIT_WEIGHT
        if truth.source == "audit":
            since = drawn_since[answer["model_name"], answer["model_version"]]
            chance = chances.get(key, UNIT_WEIGHT if since is None or answer["at"] < since else ZERO_WEIGHT)
        row = _outcome_row(answer, truth, before, known_at, chance)
        (fresh if before is None else moved).append(row)
        changes[_label_count_key(row)] += 1
        if before is not None:
            changes[_label_count_key(before)] -= 1
    numbered = _assign_sequence(connection, [*fresh, *moved])
    if fresh:
        connection.execute(insert(outcomes), fresh)
    if moved:
        columns = ("seq", "known_at", "truth", "source", "seen", "weight", "share")
        statement = update(outcomes).where(outcomes.c.prediction_id == bindparam("key"))
        rows = [{"key": row["prediction_id"], **{f"new_{name}": row[name] for name in columns}} for row in moved]
        connection.execute(statement.values({name: bindparam(f"new_{name}") for name in columns}), rows)
    _update_counts(connection, changes)
    return numbered


def _load_predictions(connection: Connection, ids: Sequence[str]) -> Iterable[RowMapping]:
    columns = [
        predictions.c[name]
        for name in ("id", "at", "model_name", "model_version", "label", "confidence", "tags", "client_id")
    ]
    return connection.execute(select(*columns).where(predictions.c.id.in_(ids))).mappings()


def _load_truths(connection: Connection, ids: Sequence[str]) -> dict[str, CurrentLabel]:
    columns = (feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
    query = select(*columns).where(feedback.c.prediction_id.in_(ids), feedback.c.superseded_by.is_(None))
    return resolve_truths(CurrentLabel(**row._mapping) for row in connection.execute(query))


def _outcome_row(
    prediction: RowMapping, truth: CurrentLabel, before: RowMapping | None, known_at: datetime, weight: InclusionWeight
) -> dict[str, Any]:
    old = before is not None and truth.source in _source_sequences(before["seen"])
    return {
        "prediction_id": prediction["id"],
        "seq": before["seq"] if before is not None and old else None,
        "model_name": prediction["model_name"],
        "model_version": prediction["model_version"],
        "at": prediction["at"],
        "known_at": before["known_at"] if before is not None and old else known_at,
        "label": prediction["label"],
        "truth": truth.label,
        "source": truth.source,
        "seen": "" if before is None else before["seen"],
        "confidence": prediction["confidence"],
        "weight": weight.weight,
        "share": weight.share,
        "tags": {**(prediction["tags"] or {}), "client": prediction["client_id"]},
    }


def _assign_sequence(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Give the rows without a number the next ones of their model, in the order given; returns how many."""
    numbered = 0
    for model in sorted({row["model_name"] for row in rows}):
        waiting = [row for row in rows if row["model_name"] == model and row["seq"] is None]
        last = _advance_counter(connection, model, len(waiting))
        for place, row in enumerate(waiting, start=last - len(waiting) + 1):
            row["seq"] = place
            row["seen"] = f"{row['seen']} {row['source']}:{place}".lstrip()
        numbered += len(waiting)
    return numbered


def _advance_counter(connection: Connection, model: str, by: int) -> int:
    """Move the model's counter on and hold it until the transaction ends; returns its value."""
    statement = insert_into(connection, sequence_counters).values(name=f"outcomes:{model}", value=by)
    moved = statement.on_conflict_do_update(index_elements=["name"], set_={"value": sequence_counters.c.value + by})
    value: int = connection.execute(moved.returning(sequence_counters.c.value)).scalar_one()
    return value


def _label_count_key(row: dict[str, Any] | RowMapping) -> LabelCountKey:
    minute = minute_index(row["at"])
    key = (row["source"], row["truth"], row["label"], row["weight"])
    return (row["model_name"], row["model_version"], minute, *key)


def _update_counts(connection: Connection, changes: Counter[LabelCountKey]) -> None:
    names = ("model_name", "model_version", "minute", "source", "truth", "label", "weight")
    cells = [dict(zip((*names, "n"), (*cell, n), strict=True)) for cell, n in sorted(changes.items()) if n]
    _add_counts(connection, label_counts, cells)
    sums: Counter[tuple[Any, ...]] = Counter()
    for (model, version, minute, *rest), n in changes.items():
        for span in rollups.ROLLUP_SPANS:
            sums[model, version, span, rollups.span_start(minute, span), *rest] += n
    wider = (*names[:2], "span", *names[2:], "n")
    _add_counts(
        connection,
        label_count_rollups,
        [dict(zip(wider, (*cell, n), strict=True)) for cell, n in sorted(sums.items()) if n],
    )


def _add_counts(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        statement = insert_into(connection, table)
        added = {"n": table.c.n + statement.excluded.n}
        connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added), rows)


def latest_label_time(
    connection: Connection, model_name: str, version: int, sources: Collection[str], tags: Mapping[str, str] = NO_TAGS
) -> datetime | None:
    """When the last truth became known that may estimate, of these sources and tags; None before the first.

    Tags are looked for among the newest labels of each source only.
    """
    mine = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version) & (outcomes.c.weight > 0)
    known: list[tuple[int, datetime]] = []
    for source in sorted(sources):
        latest = select(outcomes.c.seq, outcomes.c.known_at, outcomes.c.tags).where(mine, outcomes.c.source == source)
        found = latest.order_by(outcomes.c.seq.desc()).limit(MAX_ROWS if tags else 1).subquery().c
        query = select(found.seq, found.known_at).where(*tag_conditions(tags, found.tags)).order_by(found.seq.desc())
        known += [(row.seq, row.known_at) for row in connection.execute(query.limit(1))]
    return max(known)[1] if known else None


def cursor_before(connection: Connection, model_name: str, version: int, moment: datetime) -> int:
    """A number up to which no label lies on an answer that a version gave since a moment."""
    mine = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version)
    first: int | None = connection.scalar(select(func.min(outcomes.c.seq)).where(mine, outcomes.c.at >= moment))
    if first is not None:
        return first - 1
    return connection.scalar(select(func.max(outcomes.c.seq)).where(mine)) or 0


def last_sequence(connection: Connection, model_name: str) -> int:
    """The newest number that a label of a model has got, of whichever version; 0 before the first."""
    return (
        connection.scalar(select(sequence_counters.c.value).where(sequence_counters.c.name == f"outcomes:{model_name}"))
        or 0
    )


def outcomes_after(connection: Connection, model_name: str, version: int, cursor: int, limit: int) -> list[Outcome]:
    """The next rows of a version after a number, in order, at most `limit`."""
    mine = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version)
    query = select(outcomes).where(mine, outcomes.c.seq > cursor).order_by(outcomes.c.seq).limit(limit)
    return [_outcome_from_row(row) for row in connection.execute(query).mappings()]


def outcomes_up_to(connection: Connection, model_name: str, version: int, cursor: int, limit: int) -> list[Outcome]:
    """The last rows of a version up to a number, in order, at most `limit`."""
    mine = (outcomes.c.model_name == model_name) & (outcomes.c.model_version == version)
    query = select(outcomes).where(mine, outcomes.c.seq <= cursor).order_by(outcomes.c.seq.desc()).limit(limit)
    return [_outcome_from_row(row) for row in connection.execute(query).mappings()][::-1]


def count_errors_since(
    connection: Connection, model_name: str, version: int, since: datetime, known_by: datetime | None = None
) -> tuple[int, int]:
    """Labelled answers given since a moment that a gate may judge by, and how many of them are wrong."""
    query = select(func.count(), func.count().filter(outcomes.c.label != outcomes.c.truth)).where(
        outcomes.c.model_name == model_name,
        outcomes.c.model_version == version,
        outcomes.c.at >= since,
        outcomes.c.source.in_(ESTIMATION_SOURCES),
        outcomes.c.known_at <= known_by if known_by is not None else outcomes.c.known_at.is_not(None),
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def count_labelled(connection: Connection, model_name: str) -> int:
    """How many answers of a model have a truth."""
    query = select(func.count()).select_from(outcomes).where(outcomes.c.model_name == model_name)
    return connection.scalar(query) or 0


def _outcome_from_row(row: RowMapping) -> Outcome:
    return Outcome(
        seq=row["seq"],
        prediction_id=row["prediction_id"],
        at=row["at"],
        known_at=row["known_at"],
        label=row["label"],
        truth=row["truth"],
        source=row["source"],
        source_sequence=_source_sequences(row["seen"]),
        confidence=row["confidence"],
        weight=row["weight"],
        share=row["share"],
        tags=row["tags"] or {},
    )


def _source_sequences(seen: str) -> dict[str, int]:
    """The number of each source in "delayed:10 audit:11"."""
    return {source: int(number) for source, _, number in (each.partition(":") for each in seen.split())}


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
    """The newest `limit` answers given in [start, end) with these tags whose label may estimate, newest first."""
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
    tag: str | None = None,
    limit: int = MAX_ROWS,
) -> dict[str, tuple[LabelCount, ...]]:
    """The same answers counted, by what they have in a tag; under "" those without it, or all where none is asked."""
    newest = _newest_outcomes_query(model_name, version, start, end, sources, tags, limit).subquery()
    group = literal("") if tag is None else func.coalesce(newest.c.tags[tag].as_string(), "")
    cells = (newest.c.source, newest.c.truth, newest.c.label, newest.c.weight)
    named = select(group.label("group"), *cells).subquery()
    columns = [named.c[name] for name in ("group", "source", "truth", "label", "weight")]
    query = select(*columns, func.count().label("n")).group_by(*columns).order_by(*columns)
    found: dict[str, list[LabelCount]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.group].append(LabelCount(row.source, row.truth, row.label, row.weight, row.n))
    return {name: tuple(cells) for name, cells in found.items()}


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


def tag_conditions(tags: Mapping[str, str], column: ColumnElement[Any] = outcomes.c.tags) -> list[ColumnElement[bool]]:
    """The conditions that an answer was sent with all of these tags."""
    return [column[name].as_string() == text for name, text in sorted(tags.items())]


def window_label_counts(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> list[LabelCount]:
    """The labelled answers given in [start, end), counted; both ends count in whole minutes."""
    names, limits = ("source", "truth", "label", "weight"), (minute_index(start), minute_index(end) + 1)
    cells = rollups.rollup_query(label_counts, label_count_rollups, model_name, version, limits, (*names, "n")).c
    keys = [cells[name] for name in names]
    query = select(*keys, func.sum(cells.n).label("n")).group_by(*keys).order_by(*keys)
    return [LabelCount(**row._mapping) for row in connection.execute(query) if row.n]
