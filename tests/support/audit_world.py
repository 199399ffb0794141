"""A platform with a past in its audit log, and the hands of somebody who may write to its database."""

import json
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, make_url, select, update

from mlplatform.audit import audit_entries, checkpoint_files, checkpoints, hash_chain, prediction_attestation
from mlplatform.audit.verification import verify_with_checkpoint_file
from mlplatform.audit.verification_report import VerificationReport
from mlplatform.context import AppContext
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.ids import uuid7
from mlplatform.operations.operator_actions import create_key, revoke_key
from mlplatform.predictions.prediction_records import insert_predictions
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service, set_quarantine
from mlplatform.store.tables.audit import audit_checkpoint_files, audit_log, hash_chain_heads, prediction_attestations
from mlplatform.store.tables.base import metadata
from mlplatform.store.tables.predictions import predictions
from tests.support.platform_world import START, FakeCatalog, FakeClock, prediction

SERVERS = ("host:1:a", "host:2:b")
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class World:
    """Parts whose log, predictions, labels, promotions and keys were written as the platform writes them."""

    context: AppContext
    clock: FakeClock
    ids: list[str] = field(default_factory=list)
    backup: Rows = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return checkpoints.checkpoint_path(self.context)

    def anchor(self) -> checkpoints.Checkpoint | None:
        return checkpoints.write_checkpoint(self.context, self.file, self.clock.tick(minutes=1))

    def report(self, copy: Path | None = None) -> VerificationReport:
        return verify_with_checkpoint_file(self.context, copy)

    def faults(self) -> list[str]:
        return self.report().faults

    def meddle(self, act: Callable[[Connection], object]) -> None:
        """Let somebody write to the database past the platform."""
        with self.context.database.write() as connection:
            act(connection)


def grown(context: AppContext, clock: FakeClock) -> World:
    """Two servers' answers, labels that superseded others, promotions, a quarantine and keys, anchored on the way."""
    world = World(context, clock)
    catalog = context.catalog
    assert isinstance(catalog, FakeCatalog)
    for version in (1, 2, 3):
        catalog.add("digits", version, {})
    for turn in range(3):
        for server in SERVERS:
            at = clock.tick(seconds=10)
            rows = [prediction(at, seed=seed, prediction_id=uuid7(clock)) for seed in range(4)]
            with context.database.write() as connection:
                insert_predictions(connection, rows, server)
            world.ids += [row.prediction.id for row in rows]
        promote(context, turn + 1, turn or None)
        label(world, world.ids[turn], "4")
        label(world, world.ids[turn], "5")
        world.anchor()
        if turn == 0:
            world.backup = copied(context)
    _, key = create_key(context, "scanner", ["predict"], None, "ada")
    create_key(context, "dashboard", ["audit"], None, "ada")
    revoke_key(context, key.id, "ada")
    with context.database.write() as connection:
        set_quarantine(connection, "digits", 1, "ada", "old", clock())
    world.anchor()
    return world


def copied_world(past: World, context: AppContext, clock: FakeClock) -> World:
    """The same past in the files of another deployment; both are on SQLite, and nobody has opened the other one yet."""
    theirs, ours = past.file, checkpoints.checkpoint_path(context)
    past.context.database.close()
    shutil.copy(str(make_url(past.context.database.url).database), str(make_url(context.database.url).database))
    shutil.copytree(theirs.parent, ours.parent, dirs_exist_ok=True)
    with context.database.write() as connection:
        ids = [file.id for file in checkpoint_files.list_files(connection)]
        checkpoint_files.update_path(connection, ids, str(ours))
    assert isinstance(past.context.catalog, FakeCatalog)
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.held |= past.context.catalog.held
    context.catalog.pointers |= past.context.catalog.pointers
    clock.now = past.clock.now
    files = [row | {"path": str(ours)} for row in past.backup[audit_checkpoint_files.name]]
    return World(context, clock, list(past.ids), past.backup | {audit_checkpoint_files.name: files})


def promote(context: AppContext, version: int, expected: int | None) -> None:
    kind = "first" if expected is None else "promote"
    change = PromotionRequest("digits", version, expected, kind, "ada", "better", {"outcome": "promote", "points": 1.5})  # type: ignore[arg-type]
    promotion_service(context).promote(change)


def label(world: World, key: str, truth: str, source: str = "audit") -> None:
    at = world.clock.tick(seconds=1)
    record_labels(world.context, [SubmittedLabel(key, truth, source, "ann", at)])  # type: ignore[arg-type]


def copied(context: AppContext) -> Rows:
    """Every row of every table, as a backup holds them."""
    with context.database.read() as connection:
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
    entries = [kept for kept in audit_entries.iter_entries(connection) if kept.number is not None and keep(kept.number)]
    connection.execute(delete(audit_log))
    number, previous = 0, hash_chain.genesis_hash(hash_chain.LOG_CHAIN)
    for kept in entries:
        number += 1
        entry = replace(kept.entry, actor="eve") if kept.number == eve else kept.entry
        previous = hash_chain.next_hash(previous, entry.hash_content(number))
        connection.execute(insert(audit_log).values(**vars(entry), number=number, hash=previous))
    hash_chain.set_head(connection, hash_chain.ChainHead(hash_chain.LOG_CHAIN, number, previous), START)


def batches_anew(connection: Connection, name: str, keep: Callable[[str], bool] = lambda _: True) -> None:
    """Compute the chain of a server again from the rows that are there."""
    held = list(prediction_attestation.iter_batches(connection, name))
    connection.execute(delete(prediction_attestations).where(prediction_attestations.c.chain == name))
    connection.execute(delete(hash_chain_heads).where(hash_chain_heads.c.name == name))
    with_rows = {row.id: row for row in connection.execute(select(predictions))}
    for batch in held:
        rows = [with_rows[key] for key in batch.digests if key in with_rows and keep(key)]
        _silently(connection, name, rows)


def added(
    connection: Connection, act: str, at: datetime, details: dict[str, Any], subject: str = "predictions"
) -> None:
    """An entry at the end of the log, chained as it must be."""
    head = hash_chain.lock_head(connection, hash_chain.LOG_CHAIN)
    entry = audit_entries.AuditEntry(at, "retention", act, subject, details)
    digest = hash_chain.next_hash(head.hash, entry.hash_content(head.number + 1))
    connection.execute(insert(audit_log).values(**vars(entry), number=head.number + 1, hash=digest))
    hash_chain.set_head(connection, hash_chain.ChainHead(hash_chain.LOG_CHAIN, head.number + 1, digest), at)


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
        lines.write(json.dumps({"at": hash_chain.canonical_time(at), "heads": heads}, sort_keys=True) + "\n")


def heads(context: AppContext) -> dict[str, tuple[int, str]]:
    with context.database.read() as connection:
        return {head.name: (head.number, head.hash) for head in hash_chain.list_heads(connection)}


def later(clock: FakeClock, **length: float) -> datetime:
    return clock() + timedelta(**length)


def swapped(connection: Connection, one: str, other: str) -> None:
    """Two chains under each other's names."""
    for table, column in (
        (prediction_attestations, prediction_attestations.c.chain),
        (hash_chain_heads, hash_chain_heads.c.name),
    ):
        for old, new in ((one, "between"), (other, one), ("between", other)):
            connection.execute(update(table).where(column == old).values({column.name: new}))


def _silently(connection: Connection, name: str, rows: list[Any]) -> None:
    """Chain rows without an entry in the log, which has one already."""
    if not rows:
        return
    head = hash_chain.lock_head(connection, name)
    leaves = {row.id: prediction_attestation.prediction_digest(row) for row in rows}
    batch = prediction_attestation.AttestationBatch(
        name, head.number + 1, max(r.at for r in rows), min(r.at for r in rows), leaves, ""
    )
    digest = hash_chain.next_hash(head.hash, batch.hash_content())
    packed = zlib.compress(orjson.dumps(list(leaves.items())), 1)
    values = {"chain": name, "number": batch.number, "at": batch.at, "oldest": batch.oldest, "answers": len(rows)}
    connection.execute(insert(prediction_attestations).values(**values, leaves=packed, hash=digest))
    hash_chain.set_head(connection, hash_chain.ChainHead(name, batch.number, digest), batch.at)
