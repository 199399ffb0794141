"""The audit trail: who decided what, when and why, append-only and chained by hashes.

It is a chain of this application's own. The platform's audit log has no way in for entries of other programs, neither
through its API nor its client, and its tables belong to it; what the platform vouches for is the reading itself, which
each entry names by its prediction's id (`platform audit verify`).

Each entry's hash covers the entry before. Whoever can write to the database can write all of it anew: keep the head's
hash somewhere else (`verify --head`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, select, update

from cheques.store import add, audit_entries, audit_head, insert_new

GENESIS: Final = sha256(b"cheques audit chain").hexdigest()
HEAD: Final = "log"
OUTCOMES: Final = ("accept", "review", "refuse")


def utc_text(moment: datetime) -> str:
    """A time as it is kept: UTC to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def append(
    connection: Connection, at: datetime, actor: str, action: str, subject: str, details: Mapping[str, Any]
) -> None:
    """Append an entry in the caller's transaction, so that act and entry stand or fall together."""
    query = select(audit_head.c.number, audit_head.c.hash).where(audit_head.c.name == HEAD).with_for_update()
    head = connection.execute(query).one_or_none()
    if head is None:
        insert_new(connection, audit_head, {"name": HEAD, "number": 0, "hash": GENESIS})
        head = connection.execute(query).one()
    number, text = head.number + 1, json.dumps(dict(details), sort_keys=True, separators=(",", ":"))
    row = {"number": number, "at": utc_text(at), "actor": actor, "action": action, "subject": subject, "details": text}
    link = link_of(head.hash, row)
    add(connection, audit_entries, row | {"hash": link})
    connection.execute(update(audit_head).where(audit_head.c.name == HEAD).values(number=number, hash=link))


def entries_of(connection: Connection, subject: str) -> list[dict[str, Any]]:
    """The entries about one cheque, the oldest first."""
    query = select(audit_entries).where(audit_entries.c.subject == subject).order_by(audit_entries.c.number)
    return [_read(dict(row._mapping)) for row in connection.execute(query)]


def recent_entries(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest entries, the newest first."""
    query = select(audit_entries).order_by(audit_entries.c.number.desc()).limit(limit)
    return [_read(dict(row._mapping)) for row in connection.execute(query)]


def cheque_digest(row: Mapping[str, Any]) -> str:
    """The digest of what a decision left of a cheque, by which an entry vouches for the row."""
    names = (
        "id",
        "received_at",
        "decided_at",
        "decided_by",
        "outcome",
        "reasons",
        "code",
        "amount",
        "reading",
        "is_sampled",
    )
    return sha256(json.dumps([row[name] for name in names], sort_keys=True).encode()).hexdigest()


def link_of(previous: str, row: Mapping[str, Any]) -> str:
    """The hash of an entry, which covers the entry before."""
    content = [row[name] for name in ("number", "at", "actor", "action", "subject", "details")]
    return sha256(f"{previous}\n{json.dumps(content, separators=(',', ':'))}".encode()).hexdigest()


def details_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The details of an entry; nothing where somebody wrote what is none."""
    try:
        details = json.loads(row["details"])
    except ValueError:
        return {}
    if not isinstance(details, dict):
        return {}
    is_decision = details.get("outcome") in OUTCOMES and isinstance(details.get("reasons"), list)
    return details if is_decision or "outcome" not in details else {}


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"details": details_of(row)}
