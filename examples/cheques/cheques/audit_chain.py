"""The audit trail: who decided what, when and why, append-only and chained by hashes.

It is a chain of this application's own. The platform's audit log has no way in for entries of other programs, neither
through its API nor its client, and its tables belong to it; what the platform vouches for is the reading itself, which
each entry names by its prediction's id (`platform audit verify`).

Each entry's hash covers the entry before. Whoever can write to the database can write all of it anew: keep the head's
hash somewhere else (`verify --head`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, select, update

from cheques.store import add, audit_entries, audit_head, cheques, insert_new

GENESIS: Final = sha256(b"cheques audit chain").hexdigest()
HEAD: Final = "log"
DECIDED: Final = ("presented", "reviewed")
"""Actions whose details say in which state they leave a cheque."""


@dataclass(frozen=True)
class AuditReport:
    """What a verification found: entries and cheques looked at, the head's hash, and every fault."""

    entries: int
    cheques: int
    head: str
    faults: tuple[str, ...]


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
    link = _link(head.hash, row)
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
    names = ("id", "received_at", "decided_at", "decided_by", "outcome", "reasons", "code", "amount", "reading")
    return sha256(json.dumps([row[name] for name in names], sort_keys=True).encode()).hexdigest()


def verify(connection: Connection, expected_head: str = "") -> AuditReport:
    """Recompute every link, and hold each cheque against the entry that decided it last."""
    faults: list[str] = []
    number, previous, decided = 0, GENESIS, dict[str, str]()
    is_head_seen = not expected_head or expected_head == GENESIS
    for row in _all_entries(connection):
        if row["number"] != number + 1:
            faults.append(f"entries {number + 1} to {row['number'] - 1} were removed")
        elif _link(previous, row) != row["hash"]:
            faults.append(f"entry {row['number']} ({row['action']} {row['subject']}) is not what was written")
        number, previous = row["number"], row["hash"]
        is_head_seen = is_head_seen or previous == expected_head
        if row["action"] in DECIDED:
            decided[row["subject"]] = json.loads(row["details"]).get("digest", "")
    head = connection.execute(select(audit_head).where(audit_head.c.name == HEAD)).one_or_none()
    if (head is None and number) or (head is not None and (head.number, head.hash) != (number, previous)):
        faults.append(f"entry {number} is the last, and the head of the chain says otherwise: entries were removed")
    if not is_head_seen:
        faults.append(f"no entry has the hash {expected_head}: the trail was written anew, or cut off before it")
    count = 0
    for cheque in connection.execute(select(cheques)):
        count += 1
        vouched = decided.pop(cheque.id, None)
        if vouched is None:
            faults.append(f"cheque {cheque.id} was decided by nobody: no entry says so")
        elif vouched != cheque_digest(dict(cheque._mapping)):
            faults.append(f"cheque {cheque.id} is not what was decided")
    faults += [f"cheque {cheque_id} is gone, and an entry says that it was decided" for cheque_id in decided]
    return AuditReport(number, count, previous, tuple(faults))


def _all_entries(connection: Connection) -> Iterator[dict[str, Any]]:
    query = select(audit_entries).order_by(audit_entries.c.number).execution_options(yield_per=1000)
    for row in connection.execute(query):
        yield dict(row._mapping)


def _link(previous: str, row: Mapping[str, Any]) -> str:
    content = [row[name] for name in ("number", "at", "actor", "action", "subject", "details")]
    return sha256(f"{previous}\n{json.dumps(content, separators=(',', ':'))}".encode()).hexdigest()


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"details": json.loads(row["details"])}
