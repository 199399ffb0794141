"""Answers whose truth has become known, in the order it did: what detectors read once, and counts for windows.

`refresh` is called in the transaction that took the labels. It holds the model's counter until that commits, so the
numbers of rows become visible in their order, and a reader with a cursor misses none. A row gets a new number only
when its truth comes from a source it never came from before; `seen` lists the earlier ones, so that a reader who
takes several sources can pass over what it has read already.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from mlplatform.store import audits, plans, spans
from mlplatform.store.audits import Chance
from mlplatform.store.schema import feedback, predictions
from mlplatform.store.schema_watch import counters, judged, label_counts, label_sums
from mlplatform.store.tallies import minute_of
from mlplatform.store.truths import Current, truths
from monitors.tally import Judged, LabelCount

CHUNK = 5_000
CENSUS = Chance(1.0, 1.0)
"""The weight of a label whose answer nobody drew: it stands for itself."""
NEVER_DRAWN = Chance(0.0, 0.0)
"""The weight of an audit label on an answer that was passed over while answers were drawn: it would mislead."""
Cell = tuple[str, int, int, str, str, str, float]


def refresh(connection: Connection, prediction_ids: Iterable[str], known_at: datetime) -> int:
    """Bring the rows of these predictions up to date with their labels; returns how many got a number."""
    wanted, numbered = sorted(set(prediction_ids)), 0
    for first in range(0, len(wanted), CHUNK):
        numbered += _refresh(connection, wanted[first : first + CHUNK], known_at)
    return numbered


def _refresh(connection: Connection, ids: Sequence[str], known_at: datetime) -> int:
    answers = {row["id"]: row for row in _answers(connection, ids)}
    for model in sorted({row["model_name"] for row in answers.values()}):
        _advance(connection, model, 0)  # waits here for whoever else labels this model
    held = {
        row["prediction_id"]: row
        for row in connection.execute(select(judged).where(judged.c.prediction_id.in_(ids))).mappings()
    }
    changes: Counter[Cell] = Counter()
    fresh: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    chances = audits.chances(connection, ids)
    drawn_since = {
        (model, version): plans.since(connection, model, version)
        for model, version in {(row["model_name"], row["model_version"]) for row in answers.values()}
    }
    for key, truth in sorted(_truths(connection, ids).items()):
        before, answer = held.get(key), answers[key]
        if before is not None and (before["truth"], before["source"]) == (truth.label, truth.source):
            continue
        chance = CENSUS
        if truth.source == "audit":
            since = drawn_since[answer["model_name"], answer["model_version"]]
            chance = chances.get(key, CENSUS if since is None or answer["at"] < since else NEVER_DRAWN)
        row = _row(answer, truth, before, known_at, chance)
        (fresh if before is None else moved).append(row)
        changes[_cell(row)] += 1
        if before is not None:
            changes[_cell(before)] -= 1
    numbered = _number(connection, [*fresh, *moved])
    if fresh:
        connection.execute(insert(judged), fresh)
    if moved:
        columns = ("seq", "known_at", "truth", "source", "seen", "weight", "share")
        statement = update(judged).where(judged.c.prediction_id == bindparam("key"))
        rows = [{"key": row["prediction_id"], **{f"new_{name}": row[name] for name in columns}} for row in moved]
        connection.execute(statement.values({name: bindparam(f"new_{name}") for name in columns}), rows)
    _count(connection, changes)
    return numbered


def _answers(connection: Connection, ids: Sequence[str]) -> Iterable[RowMapping]:
    columns = [
        predictions.c[name]
        for name in ("id", "at", "model_name", "model_version", "label", "confidence", "tags", "client_id")
    ]
    return connection.execute(select(*columns).where(predictions.c.id.in_(ids))).mappings()


def _truths(connection: Connection, ids: Sequence[str]) -> dict[str, Current]:
    columns = (feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
    query = select(*columns).where(feedback.c.prediction_id.in_(ids), feedback.c.superseded_by.is_(None))
    return truths(Current(**row._mapping) for row in connection.execute(query))


def _row(
    answer: RowMapping, truth: Current, before: RowMapping | None, known_at: datetime, chance: Chance
) -> dict[str, Any]:
    seen = [] if before is None else [*before["seen"].split(), before["source"]]
    old = before is not None and truth.source in seen
    return {
        "prediction_id": answer["id"],
        "seq": before["seq"] if before is not None and old else None,
        "model_name": answer["model_name"],
        "model_version": answer["model_version"],
        "at": answer["at"],
        "known_at": before["known_at"] if before is not None and old else known_at,
        "label": answer["label"],
        "truth": truth.label,
        "source": truth.source,
        "seen": " ".join(sorted({*seen} - {truth.source})),
        "confidence": answer["confidence"],
        "weight": chance.weight,
        "share": chance.share,
        "tags": {**(answer["tags"] or {}), "client": answer["client_id"]},
    }


def _number(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Give the rows without a number the next ones of their model, in the order given; returns how many."""
    numbered = 0
    for model in sorted({row["model_name"] for row in rows}):
        waiting = [row for row in rows if row["model_name"] == model and row["seq"] is None]
        last = _advance(connection, model, len(waiting))
        for place, row in enumerate(waiting, start=last - len(waiting) + 1):
            row["seq"] = place
        numbered += len(waiting)
    return numbered


def _advance(connection: Connection, model: str, by: int) -> int:
    """Move the model's counter on and hold it until the transaction ends; returns its value."""
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement = upsert(counters).values(name=f"judged:{model}", value=by)
    moved = statement.on_conflict_do_update(index_elements=["name"], set_={"value": counters.c.value + by})
    value: int = connection.execute(moved.returning(counters.c.value)).scalar_one()
    return value


def _cell(row: dict[str, Any] | RowMapping) -> Cell:
    minute = minute_of(row["at"])
    key = (row["source"], row["truth"], row["label"], row["weight"])
    return (row["model_name"], row["model_version"], minute, *key)


def _count(connection: Connection, changes: Counter[Cell]) -> None:
    names = ("model_name", "model_version", "minute", "source", "truth", "label", "weight")
    cells = [dict(zip((*names, "n"), (*cell, n), strict=True)) for cell, n in sorted(changes.items()) if n]
    _add(connection, label_counts, cells)
    sums: Counter[tuple[Any, ...]] = Counter()
    for (model, version, minute, *rest), n in changes.items():
        for span in spans.ROLLED:
            sums[model, version, span, spans.start_of(minute, span), *rest] += n
    wider = (*names[:2], "span", *names[2:], "n")
    _add(connection, label_sums, [dict(zip(wider, (*cell, n), strict=True)) for cell, n in sorted(sums.items()) if n])


def _add(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
        statement = upsert(table)
        added = {"n": table.c.n + statement.excluded.n}
        connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added), rows)


def newest(connection: Connection, model_name: str, version: int, sources: Collection[str]) -> datetime | None:
    """When the last truth became known that may estimate, of these sources; None before the first."""
    query = (
        select(judged.c.seq, judged.c.known_at)
        .where(judged.c.model_name == model_name, judged.c.model_version == version, judged.c.weight > 0)
        .order_by(judged.c.seq.desc())
        .limit(1)
    )
    rows = [connection.execute(query.where(judged.c.source == source)).one_or_none() for source in sorted(sources)]
    found: datetime | None = max(((row.seq, row.known_at) for row in rows if row is not None), default=(0, None))[1]
    return found


def since(connection: Connection, model_name: str, version: int, cursor: int, limit: int) -> list[Judged]:
    """The next rows of a version after a number, in order, at most `limit`."""
    query = (
        select(judged)
        .where(judged.c.model_name == model_name, judged.c.model_version == version, judged.c.seq > cursor)
        .order_by(judged.c.seq)
        .limit(limit)
    )
    return [
        Judged(
            seq=row["seq"],
            prediction_id=row["prediction_id"],
            at=row["at"],
            known_at=row["known_at"],
            label=row["label"],
            truth=row["truth"],
            source=row["source"],
            seen=tuple(row["seen"].split()),
            confidence=row["confidence"],
            weight=row["weight"],
            share=row["share"],
            tags=row["tags"] or {},
        )
        for row in connection.execute(query).mappings()
    ]


def counted(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> list[LabelCount]:
    """The labelled answers given in [start, end), counted; both ends count in whole minutes."""
    names, limits = ("source", "truth", "label", "weight"), (minute_of(start), minute_of(end) + 1)
    cells = spans.stretch(label_counts, label_sums, model_name, version, limits, (*names, "n")).c
    keys = [cells[name] for name in names]
    query = select(*keys, func.sum(cells.n).label("n")).group_by(*keys).order_by(*keys)
    return [LabelCount(**row._mapping) for row in connection.execute(query) if row.n]
