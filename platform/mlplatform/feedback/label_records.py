"""Stores the labels given to predictions: append-only, idempotent, a later one superseding an earlier one.

One (prediction, source, reviewer) has one current row. The same label again is `repeated` and writes nothing;
another label, given later, is `superseded` (the old row stays, marked); another label given *earlier* than the
current one but arriving late is kept as history only (`late`). A label with its time that was taken before, current
or not, is `repeated` too: a batch sent twice changes nothing. Writers of one prediction wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal

from sqlalchemy import Connection, insert, select, update

from mlplatform.clock import uuid7
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.feedback.label_precedence import CurrentLabel, LabelSource
from mlplatform.feedback.outcome_updates import update_outcomes
from mlplatform.predictions import review_samples
from mlplatform.predictions.prediction_records import existing_ids
from mlplatform.store.tables.feedback import feedback, feedback_idempotency_keys

FeedbackStatus = Literal["recorded", "repeated", "superseded", "late", "waiting", "erased"]
"""`waiting`: kept until the prediction is in the table (`pending_labels`). `erased`: not taken, because its prediction
was erased (`predictions.erased_predictions`)."""


@dataclass(frozen=True)
class SubmittedLabel:
    """A label as somebody gave it; `at` is when it was given, which may be long before it arrives.

    A `key` is an idempotency key: under one that came before nothing is taken again. The `feed` is the name of
    the API key it came under; without one, its reviewer stands for it.
    """

    prediction_id: str
    label: str
    source: LabelSource
    reviewer: str
    at: datetime
    key: str = ""
    feed: str = ""

    @property
    def idempotency_digest(self) -> str:
        """The digest of what must be the same when the key is."""
        return sha256("\0".join((self.prediction_id, self.label, self.source, self.reviewer)).encode()).hexdigest()


@dataclass(frozen=True)
class FeedbackReceipt:
    """What became of a label: the id of the row that holds it, and how."""

    id: str
    prediction_id: str
    outcome: FeedbackStatus


def insert_labels(
    connection: Connection, labels: Sequence[SubmittedLabel], received_at: datetime
) -> list[FeedbackReceipt]:
    """Store labels, all or none; raises ConflictError, and NotFoundError naming predictions that are not recorded."""
    ids = {label.prediction_id for label in labels}
    missing = ids - existing_ids(connection, ids, lock=True)
    if missing:
        listed = ", ".join(sorted(missing)[:5])
        raise NotFoundError(
            f"{len(missing)} prediction id(s) not known: {listed}; nothing was taken. "
            "Ids are those of `predictions` in the answer of POST /v1/predict; the id of a request is none of them"
        )
    receipts = [_insert_idempotent(connection, label, received_at) for label in labels]
    changed = [receipt.prediction_id for receipt in receipts if receipt.outcome in ("recorded", "superseded")]
    review_samples.mark_labelled(
        connection, (label.prediction_id for label in labels if label.source == "audit"), received_at
    )
    update_outcomes(connection, changed, received_at)
    return receipts


def _insert_idempotent(connection: Connection, label: SubmittedLabel, received_at: datetime) -> FeedbackReceipt:
    """Store a label unless its key came before; raises ConflictError where the key came with another label."""
    if not label.key:
        return _insert_label(connection, label, received_at)
    stored = connection.execute(
        select(feedback_idempotency_keys).where(feedback_idempotency_keys.c.key == label.key)
    ).one_or_none()
    if stored is not None:
        if stored.digest != label.idempotency_digest:
            raise ConflictError(f"key {label.key!r} came before with another label; give each label a key of its own")
        return FeedbackReceipt(stored.feedback_id, label.prediction_id, "repeated")
    receipt = _insert_label(connection, label, received_at)
    row = {"key": label.key, "digest": label.idempotency_digest, "feedback_id": receipt.id, "at": received_at}
    connection.execute(insert(feedback_idempotency_keys).values(row))
    return receipt


def _insert_label(connection: Connection, label: SubmittedLabel, received_at: datetime) -> FeedbackReceipt:
    # The reviewer's labels of this source on the prediction: the current one, and the same one given before.
    from_reviewer = select(feedback.c.id, feedback.c.label, feedback.c.at).where(
        feedback.c.prediction_id == label.prediction_id,
        feedback.c.source == label.source,
        feedback.c.reviewer == label.reviewer,
    )
    current = connection.execute(from_reviewer.where(feedback.c.superseded_by.is_(None))).one_or_none()
    if current is not None and current.label == label.label:
        return FeedbackReceipt(current.id, label.prediction_id, "repeated")
    same = from_reviewer.where(feedback.c.label == label.label, feedback.c.at == label.at)
    if (repeated := connection.execute(same.order_by(feedback.c.id).limit(1)).one_or_none()) is not None:
        return FeedbackReceipt(repeated.id, label.prediction_id, "repeated")

    # A label given earlier than the current one is kept as history; any other takes its place.
    new_id = uuid7()
    late = current is not None and label.at < current.at
    if current is not None and not late:
        connection.execute(update(feedback).where(feedback.c.id == current.id).values(superseded_by=new_id))
    connection.execute(
        insert(feedback).values(
            id=new_id,
            prediction_id=label.prediction_id,
            label=label.label,
            source=label.source,
            reviewer=label.reviewer,
            at=label.at,
            received_at=received_at,
            superseded_by=current.id if current is not None and late else None,
            feed=label.feed or label.reviewer or None,
        )
    )
    return FeedbackReceipt(
        new_id, label.prediction_id, "late" if late else "superseded" if current is not None else "recorded"
    )


def current_labels(connection: Connection, prediction_id: str) -> list[CurrentLabel]:
    """The current labels of one prediction, oldest first."""
    query = (
        select(feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
        .where(feedback.c.prediction_id == prediction_id, feedback.c.superseded_by.is_(None))
        .order_by(feedback.c.id)
    )
    return [CurrentLabel(**row._mapping) for row in connection.execute(query)]
