"""The audit log: who did what to which thing, append-only and chained.

Each entry's hash covers the entry before it (`hash_chain`). The chain is one for all processes, so its head is locked
last in a transaction, just before the commit.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from mlplatform.audit import hash_chain
from mlplatform.store.database import before_commit
from mlplatform.store.tables.audit import audit_log

ERASE_ACTION: Final = "erase-predictions"


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to which thing, and when."""

    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]

    def hash_content(self, number: int) -> list[object]:
        """What the entry's hash covers besides the entry before."""
        return [number, hash_chain.canonical_time(self.at), self.actor, self.action, self.subject, self.details]


@dataclass(frozen=True)
class StoredEntry:
    """An entry as the table holds it; without a number it was never chained."""

    seq: int
    entry: AuditEntry
    number: int | None
    hash: str | None


def append(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append one entry at the end of the caller's transaction, so that act and entry stand or fall together."""
    plain = json.loads(json.dumps(dict(details or {})))  # what comes back is what was hashed
    before_commit(connection, _append_chained, AuditEntry(now, actor, action, subject, plain))


def record_erasure(
    connection: Connection,
    actor: str,
    now: datetime,
    *,
    before: datetime | None = None,
    prediction_count: int | None = None,
    ids: Collection[str] = (),
) -> None:
    """Append that predictions were erased on purpose, all before a moment or some by id: a verification misses none.

    With `prediction_count`, how many of those before the moment were: a verification then misses no more.
    """
    details: dict[str, Any] = {
        "before": None if before is None else hash_chain.canonical_time(before),
        "ids": sorted(ids),
    }
    if prediction_count is not None:
        details["answers"] = prediction_count
    append(connection, actor, ERASE_ACTION, "predictions", now, details)


def recent_entries(connection: Connection, limit: int = 100) -> list[dict[str, Any]]:
    """The newest entries, newest first."""
    query = select(audit_log).order_by(audit_log.c.seq.desc()).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]


def latest_entry(connection: Connection, action: str, subject: str) -> AuditEntry | None:
    """The last entry of an action on a subject."""
    query = select(audit_log).where(audit_log.c.subject == subject, audit_log.c.action == action)
    row = connection.execute(query.order_by(audit_log.c.seq.desc()).limit(1)).one_or_none()
    return None if row is None else AuditEntry(row.at, row.actor, row.action, row.subject, row.details)


def entries_since(connection: Connection, action: str, subject: str, moment: datetime) -> list[AuditEntry]:
    """The entries of an action on a subject since a moment."""
    query = select(audit_log).where(
        audit_log.c.subject == subject, audit_log.c.action == action, audit_log.c.at >= moment
    )
    return [AuditEntry(row.at, row.actor, row.action, row.subject, row.details) for row in connection.execute(query)]


def iter_entries(connection: Connection, after: int | None = None) -> Iterator[StoredEntry]:
    """Every entry in the order of the chain, those outside of it first; or the entries after one of that number."""
    query = select(audit_log).order_by(audit_log.c.number.is_not(None), audit_log.c.number, audit_log.c.seq)
    if after is not None:
        query = query.where(audit_log.c.number > after)
    with connection.execute(query, execution_options={"yield_per": 1000}) as rows:
        for row in rows:
            entry = AuditEntry(row.at, row.actor, row.action, row.subject, row.details)
            yield StoredEntry(row.seq, entry, row.number, row.hash)


def _append_chained(connection: Connection, entries: list[AuditEntry]) -> None:
    """Link the entries of a transaction to the chain and write them, just before the commit."""
    head, rows = hash_chain.lock_head(connection, hash_chain.LOG_CHAIN), []
    for entry in entries:
        number = head.number + 1
        head = hash_chain.ChainHead(head.name, number, hash_chain.next_hash(head.hash, entry.hash_content(number)))
        rows.append({**vars(entry), "number": number, "hash": head.hash})
    connection.execute(insert(audit_log), rows)
    hash_chain.set_head(connection, head, entries[-1].at)
