"""Finds entries of the audit log for people, newest first, and says of each whether it is what was written.

Only so many of the newest entries are looked through at once, so that a filter costs the same in a long log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from mlplatform.audit import hash_chain
from mlplatform.audit.audit_entries import AuditEntry
from mlplatform.store.tables.audit import audit_log

SCAN_LIMIT: Final = 20_000


@dataclass(frozen=True)
class EntryFilter:
    """Which entries: of exactly this actor and action, with a subject that begins so; empty asks for any.

    `before` is the place in the log to begin at, going back; None begins at the newest.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""
    before: int | None = None


@dataclass(frozen=True)
class FoundEntry:
    """An entry, its number in the chain, and whether it follows from the entry before."""

    number: int | None
    entry: AuditEntry
    is_intact: bool


@dataclass(frozen=True)
class FoundEntries:
    """The entries found, newest first; `older` is where to go on, None at the beginning of the log."""

    entries: Sequence[FoundEntry]
    older: int | None


@dataclass(frozen=True)
class LogHead:
    """The number of the log's last link as its head names it, and whether the newest entry is that link."""

    number: int
    is_intact: bool


def search_entries(connection: Connection, wanted: EntryFilter, limit: int) -> FoundEntries:
    """The newest entries that fit."""
    scanned = select(audit_log).order_by(audit_log.c.seq.desc()).limit(SCAN_LIMIT)
    if wanted.before is not None:
        scanned = scanned.where(audit_log.c.seq < wanted.before)
    newest = scanned.subquery()
    query = select(newest).order_by(newest.c.seq.desc()).limit(limit)
    if wanted.actor:
        query = query.where(newest.c.actor == wanted.actor)
    if wanted.action:
        query = query.where(newest.c.action == wanted.action)
    if wanted.subject:
        query = query.where(newest.c.subject.startswith(wanted.subject, autoescape=True))
    rows = connection.execute(query).all()
    reached = rows[-1].seq if len(rows) == limit else connection.scalar(select(func.min(newest.c.seq)))
    earlier = None if reached is None else select(audit_log.c.seq).where(audit_log.c.seq < reached).limit(1)
    has_older = earlier is not None and connection.scalar(earlier) is not None
    return FoundEntries(_checked(connection, rows), reached if has_older else None)


def log_head(connection: Connection) -> LogHead:
    """The end of the log; number 0 where it has no entry."""
    head = next((head for head in hash_chain.list_heads(connection) if head.name == hash_chain.LOG_CHAIN), None)
    query = select(audit_log.c.number, audit_log.c.hash).where(audit_log.c.number.is_not(None))
    newest = connection.execute(query.order_by(audit_log.c.number.desc()).limit(1)).one_or_none()
    if head is None:
        return LogHead(0, newest is None)
    return LogHead(head.number, newest is not None and (newest.number, newest.hash) == (head.number, head.hash))


def _checked(connection: Connection, rows: Sequence[Row[Any]]) -> list[FoundEntry]:
    """The entries, each held against the hash of the one before."""
    numbers = [row.number - 1 for row in rows if row.number is not None]
    query = select(audit_log.c.number, audit_log.c.hash).where(audit_log.c.number.in_(numbers))
    hashes = {0: hash_chain.genesis_hash(hash_chain.LOG_CHAIN)}
    hashes |= {row.number: row.hash for row in connection.execute(query)}
    entries = []
    for row in rows:
        entry = AuditEntry(row.at, row.actor, row.action, row.subject, row.details)
        before = None if row.number is None else hashes.get(row.number - 1)
        is_intact = before is not None and hash_chain.next_hash(before, entry.hash_content(row.number)) == row.hash
        entries.append(FoundEntry(row.number, entry, is_intact))
    return entries
