"""Predictions as they were recorded, batch by batch, each with its digests in the chain of the server that wrote it.

A chain per server: servers never wait for each other, and the birth of a chain is an entry of the audit log. A
prediction's digest covers what was said of which picture, by which version, in which role and when; not who asked
(client, request, tags), which may have to be erased.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import orjson
from sqlalchemy import Connection, insert, select

from mlplatform.audit import audit_entries, hash_chain
from mlplatform.store.tables.auth import audit_batches

if TYPE_CHECKING:
    from mlplatform.store.prediction import Prediction

OPEN: Final = "open-chain"
UNNAMED: Final = "unnamed"
DIGEST_LETTERS: Final = 32
"""128 of SHA-256's bits: nobody finds a second row of the same digest, and batches stay small."""
WITH_ROLE: Final = "r"
"""Marks a digest that covers the prediction's role as well."""


@dataclass(frozen=True)
class Batch:
    """Predictions that were written together: their ids with their digests, in order."""

    chain: str
    number: int
    at: datetime
    oldest: datetime
    leaves: dict[str, str]
    hash: str

    def content(self) -> list[object]:
        """What its hash covers besides the batch before."""
        return _content(self.number, self.at, self.oldest, _packed(self.leaves))


def digest(row: "Prediction") -> str:
    """What identifies a prediction's content."""
    told = [row.id, hash_chain.moment(row.at), row.model_name, row.model_version, row.image_hash, row.label]
    content = orjson.dumps([*told, row.probabilities, row.confidence, row.latency_ms, row.role])
    return WITH_ROLE + sha256(content).hexdigest()[:DIGEST_LETTERS]


def is_digest(digest_then: str, row: "Prediction") -> bool:
    """Whether a row is what it was when this digest was made; digests of older versions cover no role."""
    if digest_then.startswith(WITH_ROLE):
        return digest(row) == digest_then
    told = [row.id, hash_chain.moment(row.at), row.model_name, row.model_version, row.image_hash, row.label]
    content = orjson.dumps([*told, row.probabilities, row.confidence, row.latency_ms])
    return sha256(content).hexdigest()[:DIGEST_LETTERS] == digest_then


def add(connection: Connection, instance: str, rows: Sequence["Prediction"]) -> None:
    """Chain the rows that a server has just written, in the same transaction."""
    if not rows:
        return
    name = instance or UNNAMED
    head, at, oldest = hash_chain.lock(connection, name), max(row.at for row in rows), min(row.at for row in rows)
    leaves = _packed({row.id: digest(row) for row in rows})
    number = head.number + 1
    moved = hash_chain.Head(name, number, hash_chain.link(head.hash, _content(number, at, oldest, leaves)))
    values = {"chain": name, "number": number, "at": at, "oldest": oldest, "answers": len(rows)}
    connection.execute(insert(audit_batches).values(**values, leaves=zlib.compress(leaves, 1), hash=moved.hash))
    hash_chain.move(connection, moved, at)
    if number == 1:
        audit_entries.note(connection, name, OPEN, f"chain/{name}", at)


def chain(connection: Connection, name: str | None = None, after: int = 0) -> Iterator[Batch]:
    """Every batch, chain by chain in order, or those of one chain; one whose content cannot be read has no leaves."""
    query = select(audit_batches).order_by(audit_batches.c.chain, audit_batches.c.number)
    if name is not None:
        query = query.where(audit_batches.c.chain == name, audit_batches.c.number > after)
    with connection.execute(query, execution_options={"yield_per": 20}) as rows:
        for row in rows:
            yield Batch(row.chain, row.number, row.at, row.oldest, _unpacked(row.leaves), row.hash)


def _content(number: int, at: datetime, oldest: datetime, leaves: bytes) -> list[object]:
    return [number, hash_chain.moment(at), hash_chain.moment(oldest), sha256(leaves).hexdigest()]


def _packed(leaves: dict[str, str]) -> bytes:
    return orjson.dumps(list(leaves.items()))


def _unpacked(data: bytes) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in orjson.loads(zlib.decompress(data))}
    except (zlib.error, orjson.JSONDecodeError, TypeError, ValueError):
        return {}
