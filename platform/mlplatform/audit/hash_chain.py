"""Hash chains: each link covers the one before and its own content, so that no link is changed unnoticed.

The audit log is one chain; each server chains the predictions it records; the rows of before have a chain of their own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, select, update

from mlplatform.clock import EPOCH
from mlplatform.store.database import insert_new
from mlplatform.store.tables.audit import hash_chain_heads

LOG_CHAIN: Final = "log"
"""The chain of the audit log's entries; every other chain but the next holds the batches of one server."""
ROW_CHAIN: Final = "rows"
"""The chain of digests of rows from before the log's entries vouched for them (`attested_rows`); it never grows."""
ROW_DIGEST_LENGTH: Final = 32
"""Hexadecimal digits of SHA-256 that identify a row: 128 bits, so that nobody finds a second row of the same digest."""


@dataclass(frozen=True)
class ChainHead:
    """The last link of a chain: its number, counted from 1, and its hash."""

    name: str
    number: int
    hash: str


def genesis_hash(name: str) -> str:
    """The hash that the first link of a chain follows."""
    return sha256(f"mlplatform audit chain {name}".encode()).hexdigest()


def next_hash(previous: str, content: Sequence[object]) -> str:
    """The hash of a link, from the one before and its content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(f"{previous}\n{text}".encode()).hexdigest()


def canonical_time(at: datetime) -> str:
    """A time as links are hashed with it: UTC, to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def lock_head(connection: Connection, name: str) -> ChainHead:
    """The head of a chain, locked until the transaction ends; a chain that is not there begins."""
    query = (
        select(hash_chain_heads.c.number, hash_chain_heads.c.hash)
        .where(hash_chain_heads.c.name == name)
        .with_for_update()
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        insert_new(connection, hash_chain_heads, [{"name": name, "number": 0, "hash": genesis_hash(name), "at": EPOCH}])
        row = connection.execute(query).one()
    return ChainHead(name, row.number, row.hash)


def set_head(connection: Connection, head: ChainHead, at: datetime) -> None:
    """End the chain with this head; the caller holds the lock of `lock_head`."""
    statement = update(hash_chain_heads).where(hash_chain_heads.c.name == head.name)
    connection.execute(statement.values(number=head.number, hash=head.hash, at=at))


def list_heads(connection: Connection) -> list[ChainHead]:
    """The heads of all chains, by name."""
    query = select(hash_chain_heads.c.name, hash_chain_heads.c.number, hash_chain_heads.c.hash).order_by(
        hash_chain_heads.c.name
    )
    return [ChainHead(**row._mapping) for row in connection.execute(query)]
