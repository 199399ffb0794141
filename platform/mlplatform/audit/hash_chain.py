"""Chains of hashes: each link covers the one before and its own content, so that no link is changed unnoticed.

It knows no table but the heads of chains, and nothing of what the links are about.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, select, update

from mlplatform.store.database import insert_new
from mlplatform.store.tables.auth import audit_chains

LOG: Final = "log"
"""The chain of the audit log's entries; every other chain but the next holds the batches of one server."""
ROWS: Final = "rows"
"""The chain of digests of rows from before the log's entries vouched for them (`covered`); it never grows."""
BEFORE_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Head:
    """The last link of a chain: its number, counted from 1, and its hash."""

    name: str
    number: int
    hash: str


def genesis(name: str) -> str:
    """What the first link of a chain follows."""
    return sha256(f"mlplatform audit chain {name}".encode()).hexdigest()


def link(previous: str, content: Sequence[object]) -> str:
    """The hash of a link, from the one before and its content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(f"{previous}\n{text}".encode()).hexdigest()


def moment(at: datetime) -> str:
    """A time as links hold it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def lock(connection: Connection, name: str) -> Head:
    """The head of a chain, held until the transaction ends; a chain that is not there begins."""
    query = select(audit_chains.c.number, audit_chains.c.hash).where(audit_chains.c.name == name).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        insert_new(connection, audit_chains, [{"name": name, "number": 0, "hash": genesis(name), "at": BEFORE_ALL}])
        row = connection.execute(query).one()
    return Head(name, row.number, row.hash)


def move(connection: Connection, head: Head, at: datetime) -> None:
    """Let the chain end with this head, which its holder made."""
    moved = update(audit_chains).where(audit_chains.c.name == head.name)
    connection.execute(moved.values(number=head.number, hash=head.hash, at=at))


def heads(connection: Connection) -> list[Head]:
    """The heads of all chains, by name."""
    query = select(audit_chains.c.name, audit_chains.c.number, audit_chains.c.hash).order_by(audit_chains.c.name)
    return [Head(**row._mapping) for row in connection.execute(query)]
