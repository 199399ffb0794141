"""A platform with a past in its audit log, and the hands of somebody who may write to its database."""

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from mlplatform.audit import audit_entries, checkpoints, hash_chain, prediction_attestation
from mlplatform.audit.verification import Report, verify_at_home
from mlplatform.clock import new_id
from mlplatform.context import Parts
from mlplatform.feedback.label_ingestion import write_labels
from mlplatform.feedback.label_records import Label
from mlplatform.operations.operator_actions import create_key, revoke_key
from mlplatform.predictions.prediction_records import record
from mlplatform.promotion.promotion_service import Change, promotion_service, quarantine
from mlplatform.store.tables.auth import audit_batches, audit_chains
from mlplatform.store.tables.core import audit_log, metadata, predictions
from tests.mlplatform.conftest import START, FakeCatalog, FakeClock, prediction

SERVERS = ("host:1:a", "host:2:b")
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class World:
    """Parts whose log, predictions, labels, promotions and keys were written as the platform writes them."""

    parts: Parts
    clock: FakeClock
    ids: list[str] = field(default_factory=list)
    backup: Rows = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return checkpoints.file_of(self.parts)

    def anchor(self) -> checkpoints.Anchor | None:
        return checkpoints.take(self.parts, self.file, self.clock.tick(minutes=1))

    def report(self, copy: Path | None = None) -> Report:
        return verify_at_home(self.parts, copy)

    def faults(self) -> list[str]:
        return self.report().faults

    def meddle(self, act: Callable[[Connection], object]) -> None:
        """Let somebody write to the database past the platform."""
        with self.parts.database.write() as connection:
            act(connection)


def grown(parts: Parts, clock: FakeClock) -> World:
    """Two servers' answers, labels that superseded others, promotions, a quarantine and keys, anchored on the way."""
    world = World(parts, clock)
    catalog = parts.catalog
    assert isinstance(catalog, FakeCatalog)
    for version in (1, 2, 3):
        catalog.add("digits", version, {})
    for turn in range(3):
        for server in SERVERS:
            at = clock.tick(seconds=10)
            rows = [prediction(at, seed=seed, prediction_id=new_id(clock)) for seed in range(4)]
            with parts.database.write() as connection:
                record(connection, rows, server)
            world.ids += [row.prediction.id for row in rows]
        promote(parts, turn + 1, turn or None)
        label(world, world.ids[turn], "4")
        label(world, world.ids[turn], "5")
        world.anchor()
        if turn == 0:
            world.backup = copied(parts)
    _, key = create_key(parts, "scanner", ["predict"], None, "ada")
    create_key(parts, "dashboard", ["audit"], None, "ada")
    revoke_key(parts, key.id, "ada")
    with parts.database.write() as connection:
        quarantine(connection, "digits", 1, "ada", "old", clock())
    world.anchor()
    return world


def promote(parts: Parts, version: int, expected: int | None) -> None:
    kind = "first" if expected is None else "promote"
    change = Change("digits", version, expected, kind, "ada", "better", {"outcome": "promote", "points": 1.5})  # type: ignore[arg-type]
    promotion_service(parts).promote(change)


def label(world: World, key: str, truth: str, source: str = "audit") -> None:
    at = world.clock.tick(seconds=1)
    write_labels(world.parts, [Label(key, truth, source, "ann", at)])  # type: ignore[arg-type]


def copied(parts: Parts) -> Rows:
    """Every row of every table, as a backup holds them."""
    with parts.database.read() as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(select(table))]
            for table in metadata.sorted_tables
        }


def restored(connection: Connection, backup: Rows) -> None:
    """The database as it was."""
    for table in reversed(metadata.sorted_tables):
        connection.execute(delete(table))
    for table in metadata.sorted_tables:
        if backup[table.name]:
            connection.execute(insert(table), backup[table.name])


def log_anew(connection: Connection, keep: Callable[[int], bool] = lambda _: True, eve: int = 0) -> None:
    """Compute the log's chain again, as somebody does who changed or removed entries."""
    entries = [kept for kept in audit_entries.chain(connection) if kept.number is not None and keep(kept.number)]
    connection.execute(delete(audit_log))
    number, previous = 0, hash_chain.genesis(hash_chain.LOG)
    for kept in entries:
        number += 1
        entry = replace(kept.entry, actor="eve") if kept.number == eve else kept.entry
        previous = hash_chain.link(previous, entry.content(number))
        connection.execute(insert(audit_log).values(**vars(entry), number=number, hash=previous))
    hash_chain.move(connection, hash_chain.Head(hash_chain.LOG, number, previous), START)


def batches_anew(connection: Connection, name: str, keep: Callable[[str], bool] = lambda _: True) -> None:
    """Compute the chain of a server again from the rows that are there."""
    held = list(prediction_attestation.chain(connection, name))
    connection.execute(delete(audit_batches).where(audit_batches.c.chain == name))
    connection.execute(delete(audit_chains).where(audit_chains.c.name == name))
    with_rows = {row.id: row for row in connection.execute(select(predictions))}
    for batch in held:
        rows = [with_rows[key] for key in batch.leaves if key in with_rows and keep(key)]
        _silently(connection, name, rows)


def added(
    connection: Connection, act: str, at: datetime, details: dict[str, Any], subject: str = "predictions"
) -> None:
    """An entry at the end of the log, chained as it must be."""
    head = hash_chain.lock(connection, hash_chain.LOG)
    entry = audit_entries.Entry(at, "retention", act, subject, details)
    digest = hash_chain.link(head.hash, entry.content(head.number + 1))
    connection.execute(insert(audit_log).values(**vars(entry), number=head.number + 1, hash=digest))
    hash_chain.move(connection, hash_chain.Head(hash_chain.LOG, head.number + 1, digest), at)


def without(connection: Connection, ids: Iterable[str]) -> None:
    """Predictions removed with everything that hangs on them."""
    wanted = list(ids)
    for table in metadata.sorted_tables:
        if "prediction_id" in table.c:
            connection.execute(delete(table).where(table.c.prediction_id.in_(wanted)))
    connection.execute(delete(predictions).where(predictions.c.id.in_(wanted)))


def line(file: Path, heads: dict[str, tuple[int, str]], at: datetime) -> None:
    """A line as older versions wrote it, unsigned."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"at": hash_chain.moment(at), "heads": heads}, sort_keys=True) + "\n")


def heads(parts: Parts) -> dict[str, tuple[int, str]]:
    with parts.database.read() as connection:
        return {head.name: (head.number, head.hash) for head in hash_chain.heads(connection)}


def later(clock: FakeClock, **length: float) -> datetime:
    return clock() + timedelta(**length)


def swapped(connection: Connection, one: str, other: str) -> None:
    """Two chains under each other's names."""
    for table, column in ((audit_batches, audit_batches.c.chain), (audit_chains, audit_chains.c.name)):
        for old, new in ((one, "between"), (other, one), ("between", other)):
            connection.execute(update(table).where(column == old).values({column.name: new}))


def _silently(connection: Connection, name: str, rows: list[Any]) -> None:
    """Chain rows without an entry in the log, which has one already."""
    if not rows:
        return
    head = hash_chain.lock(connection, name)
    leaves = {row.id: prediction_attestation.digest(row) for row in rows}
    batch = prediction_attestation.Batch(
        name, head.number + 1, max(r.at for r in rows), min(r.at for r in rows), leaves, ""
    )
    digest = hash_chain.link(head.hash, batch.content())
    packed = zlib.compress(orjson.dumps(list(leaves.items())), 1)
    values = {"chain": name, "number": batch.number, "at": batch.at, "oldest": batch.oldest, "answers": len(rows)}
    connection.execute(insert(audit_batches).values(**values, leaves=packed, hash=digest))
    hash_chain.move(connection, hash_chain.Head(name, batch.number, digest), batch.at)
