"""Remembers erased predictions by a digest of their id alone, so that a label for one is refused at once.

An id is drawn at random or is a hash, so its digest says nothing about anybody. Only ids whose label would otherwise
wait for the prediction are kept, and none for ever.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, delete, select

from mlplatform.store.database import insert_new
from mlplatform.store.tables.predictions import erased_predictions

RETENTION: Final = timedelta(days=400)
BATCH_SIZE: Final = 500
"""Digests that one statement writes or looks up."""


def record_erased(connection: Connection, ids: Iterable[str], now: datetime) -> None:
    """Remember that the predictions of these ids were erased."""
    digests = sorted({_digest(prediction_id) for prediction_id in ids})
    rows = [{"digest": digest, "at": now} for digest in digests]
    for first in range(0, len(rows), BATCH_SIZE):
        insert_new(connection, erased_predictions, rows[first : first + BATCH_SIZE])


def find_erased(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the ids whose prediction was erased."""
    id_by_digest = {_digest(prediction_id): prediction_id for prediction_id in ids}
    digests, erased = sorted(id_by_digest), set[str]()
    for first in range(0, len(digests), BATCH_SIZE):
        query = select(erased_predictions.c.digest).where(
            erased_predictions.c.digest.in_(digests[first : first + BATCH_SIZE])
        )
        erased |= {id_by_digest[digest] for digest in connection.scalars(query)}
    return erased


def delete_expired(connection: Connection, now: datetime) -> None:
    """Forget the ids of predictions that were erased long ago."""
    connection.execute(delete(erased_predictions).where(erased_predictions.c.at < now - RETENTION))


def _digest(prediction_id: str) -> int:
    return int.from_bytes(sha256(prediction_id.encode()).digest()[:8], "big", signed=True)
