"""Labels whose prediction is not in the table yet, because its row still lies in a spool; it knows no spool.

They count for nothing while they wait. An id may arrive when this product may have made it: a time-ordered one of a
moment that is past and not long past, or one that follows from an `Idempotency-Key` (`serve/repeats.py`).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, delete, func, select

from mlplatform.clock import EPOCH, uuid7
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.store.database import insert_new
from mlplatform.store.tables.feedback import pending_label_rows
from mlplatform.store.tables.predictions import predictions

MAX_WAIT: Final = timedelta(days=30)
"""So long a label waits for its prediction; after that it is given up."""
CLOCK_SKEW: Final = timedelta(minutes=5)
UUID_TIME_ORDERED: Final = 7
UUID_FROM_KEY: Final = 8
REQUEST_ID_SCAN_LIMIT: Final = 20_000
"""Among so many of the newest answers the id of a request is looked for."""


@dataclass(frozen=True)
class PendingLabel:
    """A label with the id of the row it waits in."""

    id: str
    label: SubmittedLabel


def may_be_recorded_later(prediction_id: str, now: datetime) -> bool:
    """Whether an id may be that of an answer given lately; one that follows from a key does not say when."""
    found = _parse_uuid(prediction_id)
    if found is None or found.version not in (UUID_TIME_ORDERED, UUID_FROM_KEY):
        return False
    made = creation_time(prediction_id)
    return made is None or now - MAX_WAIT <= made <= now + CLOCK_SKEW


def creation_time(prediction_id: str) -> datetime | None:
    """The moment in the id of an answer; None where it says none."""
    found = _parse_uuid(prediction_id)
    if found is None or found.version != UUID_TIME_ORDERED:
        return None
    try:
        return EPOCH + timedelta(milliseconds=found.int >> 80)
    except OverflowError:  # of the year 10 000 or later
        return datetime.max.replace(tzinfo=EPOCH.tzinfo)


def _parse_uuid(text: str) -> UUID | None:
    """The UUID that this is written as; None for any other writing."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def find_request_ids(connection: Connection, model_name: str, ids: Collection[str]) -> set[str]:
    """Those of the ids that clients gave to whole requests, as far as the newest answers show it."""
    newest = (
        select(predictions.c.request_id)
        .where(predictions.c.model_name == model_name)
        .order_by(predictions.c.model_version.desc(), predictions.c.at.desc())
        .limit(REQUEST_ID_SCAN_LIMIT)
        .subquery()
    )
    wanted = select(newest.c.request_id).where(newest.c.request_id.in_(sorted(ids))).distinct()
    return set(connection.scalars(wanted)) if ids else set()


def add_pending(connection: Connection, labels: Sequence[SubmittedLabel], received_at: datetime) -> list[str]:
    """Let labels wait; the same one again changes nothing. Returns the ids they are kept under."""
    made = [uuid7() for _ in labels]
    rows = [{"id": key, "received_at": received_at, **asdict(label)} for key, label in zip(made, labels, strict=True)]
    insert_new(connection, pending_label_rows, rows)
    return made


def list_matched(connection: Connection, model_name: str, limit: int) -> list[PendingLabel]:
    """Labels whose prediction is there now and is this model's, in the order they came."""
    query = (
        select(pending_label_rows)
        .join(predictions, predictions.c.id == pending_label_rows.c.prediction_id)
        .where(predictions.c.model_name == model_name)
        .order_by(pending_label_rows.c.received_at, pending_label_rows.c.id)
        .limit(limit)
    )
    return [
        PendingLabel(
            row.id, SubmittedLabel(row.prediction_id, row.label, row.source, row.reviewer, row.at, row.key, row.feed)
        )
        for row in connection.execute(query)
    ]


def delete_pending(connection: Connection, ids: Collection[str]) -> int:
    """Forget labels that were taken or given up; returns how many were there."""
    return connection.execute(delete(pending_label_rows).where(pending_label_rows.c.id.in_(ids))).rowcount


def delete_expired(connection: Connection, now: datetime) -> int:
    """Forget labels that waited too long; returns how many."""
    return connection.execute(
        delete(pending_label_rows).where(pending_label_rows.c.received_at < now - MAX_WAIT)
    ).rowcount


def has_expired(connection: Connection, now: datetime) -> bool:
    """Whether a label waited too long."""
    query = select(pending_label_rows.c.id).where(pending_label_rows.c.received_at < now - MAX_WAIT).limit(1)
    return connection.scalar(query) is not None


def count_pending(connection: Connection) -> int:
    """How many labels wait."""
    return connection.scalar(select(func.count()).select_from(pending_label_rows)) or 0


def oldest_received_at(connection: Connection) -> datetime | None:
    """Since when the oldest waits."""
    found: datetime | None = connection.scalar(select(func.min(pending_label_rows.c.received_at)))
    return found
