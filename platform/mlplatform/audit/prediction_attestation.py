"""Attests recorded predictions: the digests of each written batch are a link in the chain of the server that wrote it.

A chain per server: servers never wait for each other, and the start of a chain is an entry of the audit log. A
prediction's digest covers what was predicted on which input, by which version, in which role and when; not who asked
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
from mlplatform.store.tables.audit import prediction_attestations

if TYPE_CHECKING:
    from mlplatform.store.prediction import PredictionRecord

OPEN_CHAIN_ACTION: Final = "open-chain"
UNNAMED_CHAIN: Final = "unnamed"
ROLE_DIGEST_PREFIX: Final = "r"
"""Marks a digest that covers the prediction's role as well."""


@dataclass(frozen=True)
class AttestationBatch:
    """Predictions that were written together: their ids with their digests, in order."""

    chain: str
    number: int
    at: datetime
    oldest: datetime
    digests: dict[str, str]
    hash: str

    def hash_content(self) -> list[object]:
        """What its hash covers besides the batch before."""
        return _hash_content(self.number, self.at, self.oldest, _encode_digests(self.digests))


def prediction_digest(prediction: "PredictionRecord") -> str:
    """The digest of a prediction's content, its role included."""
    content = orjson.dumps([*_digest_content(prediction), prediction.role])
    return ROLE_DIGEST_PREFIX + sha256(content).hexdigest()[: hash_chain.ROW_DIGEST_LENGTH]


def matches_digest(expected: str, prediction: "PredictionRecord") -> bool:
    """Whether a row is what it was when this digest was made; digests by older versions cover no role."""
    if expected.startswith(ROLE_DIGEST_PREFIX):
        return prediction_digest(prediction) == expected
    content = orjson.dumps(_digest_content(prediction))
    return sha256(content).hexdigest()[: hash_chain.ROW_DIGEST_LENGTH] == expected


def _digest_content(prediction: "PredictionRecord") -> list[object]:
    return [
        prediction.id,
        hash_chain.canonical_time(prediction.at),
        prediction.model_name,
        prediction.model_version,
        prediction.image_hash,
        prediction.label,
        prediction.probabilities,
        prediction.confidence,
        prediction.latency_ms,
    ]


def append_batch(connection: Connection, instance: str, rows: Sequence["PredictionRecord"]) -> None:
    """Chain the predictions that a server has just written, in the same transaction."""
    if not rows:
        return
    name = instance or UNNAMED_CHAIN
    head, at, oldest = hash_chain.lock_head(connection, name), max(row.at for row in rows), min(row.at for row in rows)
    digests = _encode_digests({row.id: prediction_digest(row) for row in rows})
    number = head.number + 1
    link_hash = hash_chain.next_hash(head.hash, _hash_content(number, at, oldest, digests))
    values = {"chain": name, "number": number, "at": at, "oldest": oldest, "answers": len(rows)}
    connection.execute(
        insert(prediction_attestations).values(**values, leaves=zlib.compress(digests, 1), hash=link_hash)
    )
    hash_chain.set_head(connection, hash_chain.ChainHead(name, number, link_hash), at)
    if number == 1:
        audit_entries.append(connection, name, OPEN_CHAIN_ACTION, f"chain/{name}", at)


def iter_batches(connection: Connection, name: str | None = None, after: int = 0) -> Iterator[AttestationBatch]:
    """Every batch, chain by chain in order, or those of one chain; one whose content cannot be read has no digests."""
    query = select(prediction_attestations).order_by(prediction_attestations.c.chain, prediction_attestations.c.number)
    if name is not None:
        query = query.where(prediction_attestations.c.chain == name, prediction_attestations.c.number > after)
    with connection.execute(query, execution_options={"yield_per": 20}) as rows:
        for row in rows:
            yield AttestationBatch(row.chain, row.number, row.at, row.oldest, _decode_digests(row.leaves), row.hash)


def _hash_content(number: int, at: datetime, oldest: datetime, encoded_digests: bytes) -> list[object]:
    return [
        number,
        hash_chain.canonical_time(at),
        hash_chain.canonical_time(oldest),
        sha256(encoded_digests).hexdigest(),
    ]


def _encode_digests(digests: dict[str, str]) -> bytes:
    return orjson.dumps(list(digests.items()))


def _decode_digests(data: bytes) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in orjson.loads(zlib.decompress(data))}
    except (zlib.error, orjson.JSONDecodeError, TypeError, ValueError):
        return {}
