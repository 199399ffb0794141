"""Stores the labels given to predictions: append-only, idempotent, a later one superseding an earlier one.

One (prediction, source, reviewer) has one current row. The same label again is `repeated` and writes nothing;
another label, given later, is `superseded` (the old row stays, marked); another label given *earlier* than the
current one but arriving late is kept as history only (`late`). A label with its time that was taken before, current
or not, is `repeated` too: a batch sent twice changes nothing. Writers of one prediction wait for each other.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal

from sqlalchemy import Connection, bindparam, insert, select, update

from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.feedback.label_precedence import CurrentLabel, LabelSource
from mlplatform.feedback.outcome_updates import BATCH_SIZE, update_outcomes
from mlplatform.ids import uuid7
from mlplatform.predictions import review_samples
from mlplatform.predictions.prediction_records import existing_ids
from mlplatform.store.tables.feedback import feedback, feedback_idempotency_keys

ABSENT_REVIEWER: Final = "mlplatform:absent"
"""Gives the labels of answers that got none in time; whatever else is said takes their place."""
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
    stored, receipts = _load_stored(connection, sorted(ids)), list[FeedbackReceipt]()
    keyed = _load_keys(connection, [label.key for label in labels if label.key])
    keys_before = set(keyed)
    for label in labels:
        if (known := keyed.get(label.key)) is None:
            receipts.append(stored.add(label, received_at))
            if label.key:
                keyed[label.key] = (label.idempotency_digest, receipts[-1].id)
        elif known[0] == label.idempotency_digest:
            receipts.append(FeedbackReceipt(known[1], label.prediction_id, "repeated"))
        else:
            raise ConflictError(f"key {label.key!r} came before with another label; give each label a key of its own")
    stored.write(connection)
    new_keys = [
        {"key": key, "digest": digest, "feedback_id": feedback_id, "at": received_at}
        for key, (digest, feedback_id) in keyed.items()
        if key not in keys_before
    ]
    if new_keys:
        connection.execute(insert(feedback_idempotency_keys), new_keys)
    changed = [receipt.prediction_id for receipt in receipts if receipt.outcome in ("recorded", "superseded")]
    review_samples.mark_labelled(
        connection, (label.prediction_id for label in labels if label.source == "audit"), received_at
    )
    # That an answer got no label in time was known then: written late, it is still read beside those that came.
    silent = {label.prediction_id: label.at for label in labels if label.reviewer == ABSENT_REVIEWER}
    update_outcomes(connection, changed, received_at, silent)
    return receipts


def _load_keys(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The digest and the label's id of each idempotency key that came before."""
    columns, found = feedback_idempotency_keys.c, dict[str, tuple[str, str]]()
    for first in range(0, len(keys), BATCH_SIZE):
        query = select(columns.key, columns.digest, columns.feedback_id)
        rows = connection.execute(query.where(columns.key.in_(keys[first : first + BATCH_SIZE])))
        found |= {row.key: (row.digest, row.feedback_id) for row in rows}
    return found


def _load_stored(connection: Connection, prediction_ids: Sequence[str]) -> "_StoredLabels":
    """The labels of these predictions, the first one first."""
    rows, columns = list[dict[str, Any]](), feedback.c
    names = (columns.id, columns.prediction_id, columns.label, columns.source, columns.reviewer, columns.at)
    for first in range(0, len(prediction_ids), BATCH_SIZE):
        query = select(*names, columns.superseded_by).order_by(columns.id)
        batch = prediction_ids[first : first + BATCH_SIZE]
        rows += [dict(row._mapping) for row in connection.execute(query.where(columns.prediction_id.in_(batch)))]
    return _StoredLabels(rows)


class _StoredLabels:
    """The labels of some predictions, by the columns of `feedback`, and what is to be written of them.

    The predictions are locked, so nobody else changes them meanwhile.
    """

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows, self._new = defaultdict[str, list[dict[str, Any]]](list), list[dict[str, Any]]()
        self._superseded = dict[str, str]()
        for row in rows:
            self._rows[row["prediction_id"]].append(row)

    def add(self, label: SubmittedLabel, received_at: datetime) -> FeedbackReceipt:
        """Take one label, and say what becomes of it."""
        rows = self._rows[label.prediction_id]
        if label.reviewer == ABSENT_REVIEWER and rows:
            return FeedbackReceipt(rows[0]["id"], label.prediction_id, "repeated")
        given = [row for row in rows if (row["source"], row["reviewer"]) == (label.source, label.reviewer)]
        current = next((row for row in given if row["superseded_by"] is None), None)
        if current is not None and current["label"] == label.label:
            return FeedbackReceipt(current["id"], label.prediction_id, "repeated")
        for row in given:
            if (row["label"], row["at"]) == (label.label, label.at):
                return FeedbackReceipt(row["id"], label.prediction_id, "repeated")

        # A label given earlier than the current one is kept as history; any other takes its place.
        new_id = uuid7()
        late = current is not None and label.at < current["at"]
        for row in rows:
            if row["superseded_by"] is None and (row["reviewer"] == ABSENT_REVIEWER or (row is current and not late)):
                row["superseded_by"] = self._superseded[row["id"]] = new_id
        new = {
            "id": new_id,
            "prediction_id": label.prediction_id,
            "label": label.label,
            "source": label.source,
            "reviewer": label.reviewer,
            "at": label.at,
            "received_at": received_at,
            "superseded_by": current["id"] if current is not None and late else None,
            "feed": label.feed or label.reviewer or None,
        }
        rows.append(new)
        self._new.append(new)
        outcome: FeedbackStatus = "late" if late else "superseded" if current is not None else "recorded"
        return FeedbackReceipt(new_id, label.prediction_id, outcome)

    def write(self, connection: Connection) -> None:
        """Write what was taken: first what is superseded, for a giver has one current label at any moment."""
        new_ids = {row["id"] for row in self._new}
        changed = [{"key": key, "by": new_id} for key, new_id in self._superseded.items() if key not in new_ids]
        if changed:
            statement = update(feedback).where(feedback.c.id == bindparam("key"))
            connection.execute(statement.values(superseded_by=bindparam("by")), changed)
        if self._new:
            connection.execute(insert(feedback), self._new)


def current_labels(connection: Connection, prediction_id: str) -> list[CurrentLabel]:
    """The current labels of one prediction, oldest first."""
    query = (
        select(feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
        .where(feedback.c.prediction_id == prediction_id, feedback.c.superseded_by.is_(None))
        .order_by(feedback.c.id)
    )
    return [CurrentLabel(**row._mapping) for row in connection.execute(query)]
