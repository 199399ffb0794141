"""Keeps labels whose prediction is not in the database yet, because its row still lies in a spool.

They count for nothing while they wait. `predictions.prediction_ids` says whether a prediction may still come.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, func, select

from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_ids import MAX_RECORDING_DELAY
from mlplatform.store.database import insert_new
from mlplatform.store.tables.feedback import pending_label_rows
from mlplatform.store.tables.predictions import predictions

MAX_WAIT: Final = MAX_RECORDING_DELAY
"""How long a label waits for its prediction before it is given up."""
REQUEST_ID_SCAN_LIMIT: Final = 20_000
"""Newest predictions among which the id of a request is searched."""


@dataclass(frozen=True)
class PendingLabel:
    """A waiting label with the id of its row."""

    id: str
    label: SubmittedLabel


def find_request_ids(connection: Connection, model_name: str, ids: Collection[str]) -> set[str]:
    """Those of the ids that clients gave to whole requests, as far as the newest predictions show."""
    newest = (
        select(predictions.c.request_id)
        .where(predictions.c.model_name == model_name)
        .order_by(predictions.c.model_version.desc(), predictions.c.at.desc())
        .limit(REQUEST_ID_SCAN_LIMIT)
        .subquery()
    )
    query = select(newest.c.request_id).where(newest.c.request_id.in_(sorted(ids))).distinct()
    return set(connection.scalars(query)) if ids else set()


def add_pending(
    connection: Connection, labels: Sequence[SubmittedLabel], model_name: str, received_at: datetime
) -> list[str]:
    """Keep labels until predictions of this model come; the same one again changes nothing. Returns their rows' ids."""
    ids = [uuid7() for _ in labels]
    rows = [
        {"id": row_id, "model_name": model_name, "received_at": received_at, **asdict(label)}
        for row_id, label in zip(ids, labels, strict=True)
    ]
    insert_new(connection, pending_label_rows, rows)
    return ids


def list_matched(connection: Connection, model_name: str, limit: int) -> list[PendingLabel]:
    """Labels for this model whose prediction is recorded by now and is its own, in the order they came."""
    query = (
        select(pending_label_rows)
        .join(predictions, predictions.c.id == pending_label_rows.c.prediction_id)
        .where(predictions.c.model_name == model_name, pending_label_rows.c.model_name.in_(("", model_name)))
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
    """Delete labels that were taken or given up; returns how many were there."""
    return connection.execute(delete(pending_label_rows).where(pending_label_rows.c.id.in_(ids))).rowcount


def delete_expired(connection: Connection, now: datetime) -> int:
    """Delete labels that waited too long; returns how many."""
    return connection.execute(
        delete(pending_label_rows).where(pending_label_rows.c.received_at < now - MAX_WAIT)
    ).rowcount


def has_expired(connection: Connection, now: datetime) -> bool:
    """Whether a label has waited too long."""
    query = select(pending_label_rows.c.id).where(pending_label_rows.c.received_at < now - MAX_WAIT).limit(1)
    return connection.scalar(query) is not None


def count_pending(connection: Connection) -> int:
    """How many labels wait."""
    return connection.scalar(select(func.count()).select_from(pending_label_rows)) or 0


def oldest_received_at(connection: Connection) -> datetime | None:
    """Since when the oldest waits; None where none does."""
    oldest: datetime | None = connection.scalar(select(func.min(pending_label_rows.c.received_at)))
    return oldest
