"""Removes predictions, labels and inputs for good, or only who asked for a prediction.

Counts by minute, hour and day stay: they name nobody. Every function works on a batch, in the caller's transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection, delete, exists, func, null, or_, select, update

from mlplatform.predictions import prediction_ids, prediction_records
from mlplatform.store.tables.coordination import tasks
from mlplatform.store.tables.feedback import (
    feedback,
    feedback_idempotency_keys,
    outcomes,
    pending_label_rows,
    review_claims,
    review_verdicts,
)
from mlplatform.store.tables.predictions import inputs, predictions, review_samples, shadow_prediction_rows
from pipelines.data import FORGOTTEN_GROUPS, is_holdout

BATCH_SIZE: Final = 2_000
"""Predictions in one transaction."""
Owner = Literal["client", "subject"]
"""Who may ask to be forgotten: whoever sent requests, or whom a row is about."""


@dataclass(frozen=True)
class ErasureResult:
    """How many rows were removed. `labelled` predictions had labels, which training and the gate will no longer see.

    `shared` inputs stay, because others sent the same ones.
    """

    answers: int = 0
    labelled: int = 0
    labels: int = 0
    pictures: int = 0
    shared: int = 0

    def __add__(self, other: "ErasureResult") -> "ErasureResult":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return ErasureResult(*(count + other_count for count, other_count in pairs))


def old_unlabelled_ids(
    connection: Connection,
    model_name: str,
    before: datetime,
    kept: Collection[str],
    after: str = "",
    limit: int = BATCH_SIZE,
) -> list[str]:
    """A model's old predictions without a label, on no open task's list, and not among those that are kept.

    In the order of their ids, beginning after one, so that what stays is read once.
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
    if kept:
        query = query.where(predictions.c.id.notin_(kept))
    return list(connection.scalars(query))


def owned_prediction_ids(connection: Connection, owner: Owner, name: str, limit: int = BATCH_SIZE) -> list[str]:
    """Predictions made for a client or about a subject, labelled or not."""
    column = predictions.c.client_id if owner == "client" else predictions.c.subject
    return list(
        connection.scalars(select(predictions.c.id).where(column == name).order_by(predictions.c.id).limit(limit))
    )


def erase(connection: Connection, ids: Sequence[str], now: datetime) -> ErasureResult:
    """Remove these predictions with their labels, and the inputs that no other prediction was made for.

    Ids whose label might wait for them are remembered as erased.
    """
    if not ids:
        return ErasureResult()
    # 1. A label that comes later for one of these ids is refused instead of waiting.
    prediction_records.record_erased(
        connection, [key for key in ids if prediction_ids.may_be_recorded_later(key, now)], now
    )

    # 2. Everything that refers to the predictions, then they themselves.
    hashes = set(connection.scalars(select(predictions.c.image_hash).where(predictions.c.id.in_(ids)).distinct()))
    on_these = feedback.c.prediction_id.in_(ids)
    labelled = connection.scalar(select(func.count(feedback.c.prediction_id.distinct())).where(on_these)) or 0
    label_ids = select(feedback.c.id).where(on_these)
    connection.execute(delete(feedback_idempotency_keys).where(feedback_idempotency_keys.c.feedback_id.in_(label_ids)))
    connection.execute(delete(pending_label_rows).where(pending_label_rows.c.prediction_id.in_(ids)))
    for table in (review_samples, review_claims, review_verdicts, outcomes, shadow_prediction_rows):
        connection.execute(delete(table).where(table.c.prediction_id.in_(ids)))
    labels = connection.execute(delete(feedback).where(on_these)).rowcount
    answers = connection.execute(delete(predictions).where(predictions.c.id.in_(ids))).rowcount

    # 3. The inputs that nothing refers to any more.
    used = exists().where(predictions.c.image_hash == inputs.c.hash)
    pictures = connection.execute(delete(inputs).where(inputs.c.hash.in_(hashes), ~used)).rowcount
    return ErasureResult(answers, labelled, labels, pictures, len(hashes) - pictures)


def anonymise(
    connection: Connection, model_name: str, before: datetime, after: str = "", limit: int = BATCH_SIZE
) -> list[str]:
    """Remove who asked, the subject and the tags from a model's predictions made before a moment; returns their ids.

    In the order of their ids, beginning after one. In a subject's place stays on which side of a retraining its labels
    are: one that trained a champion would judge it otherwise.
    """
    asked = (predictions.c[name] != "" for name in ("client_id", "request_id", "reference"))
    personal = or_(*asked, predictions.c.subject.not_in(("", *FORGOTTEN_GROUPS.values())))
    old = (predictions.c.model_name == model_name) & (predictions.c.at < before) & (predictions.c.id > after)
    query = select(predictions.c.id, predictions.c.subject).where(old, personal).order_by(predictions.c.id).limit(limit)
    subjects = {row.id: row.subject for row in connection.execute(query)}
    ids = list(subjects)
    blank = {"client_id": "", "request_id": "", "reference": "", "tags": null()}
    connection.execute(update(predictions).where(predictions.c.id.in_(ids)).values(blank))
    for judges, name in FORGOTTEN_GROUPS.items():
        theirs = [key for key, subject in subjects.items() if subject and is_holdout(subject) is judges]
        connection.execute(update(predictions).where(predictions.c.id.in_(theirs)).values(subject=name))
    connection.execute(update(outcomes).where(outcomes.c.prediction_id.in_(ids)).values(tags=null()))
    return ids


def _ids_in_open_tasks(connection: Connection) -> Collection[str]:
    rows = connection.scalars(select(tasks.c.details).where(tasks.c.finished_at.is_(None)))
    return {item["id"] for details in rows for item in details.get("predictions", []) if "id" in item}
