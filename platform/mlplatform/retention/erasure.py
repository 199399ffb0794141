"""Answers, labels and pictures removed for good, and who asked blotted out; it knows no clock and decides no deadline.

Counts by minute, hour and day stay: they name nobody. Every function works on a portion, in the caller's transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, exists, func, null, or_, select, update

from mlplatform.feedback import pending_labels
from mlplatform.predictions import erased_predictions
from mlplatform.store.tables.coordination import tasks
from mlplatform.store.tables.feedback import feedback, feedback_idempotency_keys, outcomes, pending_label_rows
from mlplatform.store.tables.predictions import images, predictions, review_samples, shadow_prediction_rows

BATCH_SIZE: Final = 2_000


@dataclass(frozen=True)
class ReferenceSampleOf:
    """So many first answers of a version, which later pictures are compared with."""

    model_name: str
    version: int
    prediction_count: int


@dataclass(frozen=True)
class ErasureResult:
    """How many rows went. `labelled` answers had labels, which training and the gate will no longer see.

    `shared` pictures stay, because others sent the same ones.
    """

    answers: int = 0
    labelled: int = 0
    labels: int = 0
    pictures: int = 0
    shared: int = 0

    def __add__(self, other: "ErasureResult") -> "ErasureResult":
        return ErasureResult(
            *(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True))
        )


def old_unlabelled_ids(
    connection: Connection,
    model_name: str,
    before: datetime,
    reference_sample: ReferenceSampleOf | None,
    after: str = "",
    limit: int = BATCH_SIZE,
) -> list[str]:
    """A model's old answers that nobody labelled, that no open task asks about, nor are first of a version.

    In the order of their ids, beginning behind one, so that what stays is looked at once.
    """
    query = (
        select(predictions.c.id)
        .where(
            predictions.c.id > after,
            predictions.c.model_name == model_name,
            predictions.c.at < before,
            ~exists().where(feedback.c.prediction_id == predictions.c.id),
            predictions.c.id.notin_(_ids_in_open_tasks(connection)),
        )
        .order_by(predictions.c.id)
        .limit(limit)
        .with_for_update(of=predictions, skip_locked=True)
    )
    if reference_sample is not None:
        mine = (predictions.c.model_name == reference_sample.model_name) & (
            predictions.c.model_version == reference_sample.version
        )
        first = (
            select(predictions.c.id)
            .where(mine)
            .order_by(predictions.c.at, predictions.c.id)
            .limit(reference_sample.prediction_count)
        )
        query = query.where(predictions.c.id.notin_(first))
    return list(connection.scalars(query))


def client_prediction_ids(connection: Connection, client: str, limit: int = BATCH_SIZE) -> list[str]:
    """Answers given to a client, labelled or not."""
    query = select(predictions.c.id).where(predictions.c.client_id == client).order_by(predictions.c.id).limit(limit)
    return list(connection.scalars(query))


def erase(connection: Connection, ids: Sequence[str], now: datetime) -> ErasureResult:
    """Remove these answers with their labels, and the pictures that no other answer was given for.

    Ids whose label might wait for them are remembered as erased.
    """
    if not ids:
        return ErasureResult()
    erased_predictions.record_erased(
        connection, [key for key in ids if pending_labels.may_be_recorded_later(key, now)], now
    )
    hashes = set(connection.scalars(select(predictions.c.image_hash).where(predictions.c.id.in_(ids)).distinct()))
    mine = feedback.c.prediction_id.in_(ids)
    labelled = connection.scalar(select(func.count(feedback.c.prediction_id.distinct())).where(mine)) or 0
    given = select(feedback.c.id).where(mine)
    connection.execute(delete(feedback_idempotency_keys).where(feedback_idempotency_keys.c.feedback_id.in_(given)))
    connection.execute(delete(pending_label_rows).where(pending_label_rows.c.prediction_id.in_(ids)))
    for table in (review_samples, outcomes, shadow_prediction_rows):
        connection.execute(delete(table).where(table.c.prediction_id.in_(ids)))
    labels = connection.execute(delete(feedback).where(mine)).rowcount
    answers = connection.execute(delete(predictions).where(predictions.c.id.in_(ids))).rowcount
    used = exists().where(predictions.c.image_hash == images.c.hash)
    gone = connection.execute(delete(images).where(images.c.hash.in_(hashes), ~used)).rowcount
    return ErasureResult(answers, labelled, labels, gone, len(hashes) - gone)


def anonymise(
    connection: Connection, model_name: str, before: datetime, after: str = "", limit: int = BATCH_SIZE
) -> list[str]:
    """Forget who asked and what they said of the picture, in a model's answers given before a moment; returns which.

    In the order of their ids, beginning behind one.
    """
    told = or_(predictions.c.client_id != "", predictions.c.request_id != "")
    mine = (predictions.c.model_name == model_name) & (predictions.c.at < before) & (predictions.c.id > after)
    query = select(predictions.c.id).where(mine, told).order_by(predictions.c.id).limit(limit)
    ids = list(connection.scalars(query))
    blank = {"client_id": "", "request_id": "", "tags": null()}
    connection.execute(update(predictions).where(predictions.c.id.in_(ids)).values(blank))
    connection.execute(update(outcomes).where(outcomes.c.prediction_id.in_(ids)).values(tags=null()))
    return ids


def _ids_in_open_tasks(connection: Connection) -> Collection[str]:
    rows = connection.scalars(select(tasks.c.details).where(tasks.c.finished_at.is_(None)))
    return {item["id"] for details in rows for item in details.get("predictions", []) if "id" in item}
