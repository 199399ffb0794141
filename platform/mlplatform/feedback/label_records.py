"""Labels people gave to predictions: append-only, idempotent, superseding; it knows no image.

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
from mlplatform.feedback import outcomes
from mlplatform.feedback.label_precedence import CurrentLabel, LabelSource
from mlplatform.predictions import review_samples
from mlplatform.predictions.prediction_records import existing_ids
from mlplatform.store.tables.feedback import feedback, feedback_idempotency_keys

FeedbackStatus = Literal["recorded", "repeated", "superseded", "late", "waiting", "erased"]
"""`waiting`: kept aside until the prediction is in the table (`store/waiting.py`). `erased`: not taken, because its
prediction was erased (`store/erased.py`)."""


@dataclass(frozen=True)
class SubmittedLabel:
    """A label as somebody gave it; `at` is when it was given, which may be long before it arrives.

    A `key` names one giving of a label: under a key that came before nothing is taken again. The `feed` is the name of
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
        """What must be the same when the key is."""
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
    """Take labels, all or none; raises NotFoundError naming the predictions that are not known, or ConflictError."""
    ids = {label.prediction_id for label in labels}
    missing = ids - existing_ids(connection, ids, lock=True)
    if missing:
        listed = ", ".join(sorted(missing)[:5])
        raise NotFoundError(
            f"{len(missing)} prediction id(s) not known: {listed}; nothing was taken. "
            "Ids are those of `predictions` in the answer of POST /v1/predict; the id of a request is none of them"
        )
    taken = [_insert_idempotent(connection, label, received_at) for label in labels]
    changed = [each.prediction_id for each in taken if each.outcome in ("recorded", "superseded")]
    review_samples.mark_labelled(
        connection, (label.prediction_id for label in labels if label.source == "audit"), received_at
    )
    outcomes.update_outcomes(connection, changed, received_at)
    return taken


def _insert_idempotent(connection: Connection, label: SubmittedLabel, received_at: datetime) -> FeedbackReceipt:
    """Take a label unless its key came before; raises ConflictError where the key came with another one."""
    if not label.key:
        return _insert_label(connection, label, received_at)
    held = connection.execute(
        select(feedback_idempotency_keys).where(feedback_idempotency_keys.c.key == label.key)
    ).one_or_none()
    if held is not None:
        if held.digest != label.idempotency_digest:
            raise ConflictError(f"key {label.key!r} came before with another label; give each label a key of its own")
        return FeedbackReceipt(held.feedback_id, label.prediction_id, "repeated")
    accepted = _insert_label(connection, label, received_at)
    row = {"key": label.key, "digest": label.idempotency_digest, "feedback_id": accepted.id, "at": received_at}
    connection.execute(insert(feedback_idempotency_keys).values(row))
    return accepted


def _insert_label(connection: Connection, label: SubmittedLabel, received_at: datetime) -> FeedbackReceipt:
    given = select(feedback.c.id, feedback.c.label, feedback.c.at).where(
        feedback.c.prediction_id == label.prediction_id,
        feedback.c.source == label.source,
        feedback.c.reviewer == label.reviewer,
    )
    current = connection.execute(given.where(feedback.c.superseded_by.is_(None))).one_or_none()
    if current is not None and current.label == label.label:
        return FeedbackReceipt(current.id, label.prediction_id, "repeated")
    same = given.where(feedback.c.label == label.label, feedback.c.at == label.at).order_by(feedback.c.id).limit(1)
    if (held := connection.execute(same).one_or_none()) is not None:
        return FeedbackReceipt(held.id, label.prediction_id, "repeated")
    fresh = uuid7()
    late = current is not None and label.at < current.at
    if current is not None and not late:
        connection.execute(update(feedback).where(feedback.c.id == current.id).values(superseded_by=fresh))
    connection.execute(
        insert(feedback).values(
            id=fresh,
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
        fresh, label.prediction_id, "late" if late else "superseded" if current is not None else "recorded"
    )


def current_labels(connection: Connection, prediction_id: str) -> list[CurrentLabel]:
    """The current labels of one prediction, oldest first."""
    query = (
        select(feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
        .where(feedback.c.prediction_id == prediction_id, feedback.c.superseded_by.is_(None))
        .order_by(feedback.c.id)
    )
    return [CurrentLabel(**row._mapping) for row in connection.execute(query)]
