"""Predictions that were erased, remembered by a digest of their id alone, so that a late label is told so at once.

An id is drawn at random or is a hash, so its digest says nothing about anybody. Only ids whose label would otherwise
wait are kept, and none for ever.
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


def record_erased(connection: Connection, ids: Iterable[str], now: datetime) -> None:
    """Remember these ids."""
    rows = [{"digest": digest, "at": now} for digest in sorted({_digest(key) for key in ids})]
    for first in range(0, len(rows), BATCH_SIZE):
        insert_new(connection, erased_predictions, rows[first : first + BATCH_SIZE])


def find_erased(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the ids whose prediction was erased."""
    named = {_digest(key): key for key in ids}
    digests, found = sorted(named), set[str]()
    for first in range(0, len(digests), BATCH_SIZE):
        part = erased_predictions.c.digest.in_(digests[first : first + BATCH_SIZE])
        found |= {named[digest] for digest in connection.scalars(select(erased_predictions.c.digest).where(part))}
    return found


def delete_expired(connection: Connection, now: datetime) -> None:
    """Forget those that were erased long ago."""
    connection.execute(delete(erased_predictions).where(erased_predictions.c.at < now - RETENTION))


def _digest(prediction_id: str) -> int:
    return int.from_bytes(sha256(prediction_id.encode()).digest()[:8], "big", signed=True)
