"""Takes labels: checks them, stores them or keeps them until their prediction arrives, and writes the audit log.

A label comes from outside the platform: what a model predicted is refused as a label, whoever sends it.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mlplatform.audit import attested_rows, audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import label_records, outcomes, pending_labels
from mlplatform.feedback.label_precedence import ESTIMATION_SOURCES, SOURCES_BY_TRUST
from mlplatform.predictions import prediction_ids, prediction_records

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_TRIES: Final = 3
MATCH_BATCH_SIZE: Final = 200
"""Waiting labels that one run of the watcher matches."""
GIVE_UP_ACTION: Final = "give-up-labels"
MAX_LEAD_TIME: Final = timedelta(days=1)
"""In a file a truth may be known before its prediction is made, and clocks and zones differ; not by more."""
EARLIEST_PLAUSIBLE_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What software writes for no time at all is earlier: zero seconds since 1900, 1970 or 1980."""
PENDING_NOTE: Final = (
    "no prediction of this id is recorded yet: the label waits for it until {}, and estimates nothing before; if this "
    "is the id of a request, none will come"
)
LATE_NOTE: Final = "another label of the same giver was given later and stands; this one is kept as history"
ERASED_NOTE: Final = "this prediction was erased; the label is not kept"
NOT_DRAWN_NOTE: Final = (
    "this answer was not drawn for audit: the label trains and does not estimate; label what GET /v1/audit/next gives, "
    "or send truth that arrives by itself as `delayed`"
)
CORRECTION_NOTE: Final = "a correction trains and does not estimate: it was picked for being an error"


@dataclass(frozen=True)
class LabelReceipt(label_records.FeedbackReceipt):
    """The reply to whoever gave a label: what became of it, whether it estimates how good the model is, and why not."""

    counts: bool = False
    note: str = ""


def record_labels(
    context: AppContext, labels: Sequence[label_records.SubmittedLabel], key_id: str = "", *, wait: bool = False
) -> list[LabelReceipt]:
    """Take labels, all or none; each that changes something gets an entry in the audit log, which names the API key.

    With `wait`, a label whose prediction may still be on its way to the database is kept until it arrives. Raises
    NotFoundError for other predictions that are not recorded, InvalidInputError for a reviewer that is a model and for
    a label that cannot be about its prediction, ConflictError when other processes keep interfering or a key came with
    another label before.
    """
    reject_model_labels(context.model_name, labels)
    return write_labels(context, lambda connection: record_within(connection, context, labels, key_id, wait=wait))


def write_labels(context: AppContext, write: Callable[[Connection], T]) -> T:
    """Run a transaction that stores labels, again where another process labelled the same prediction meanwhile."""
    for _ in range(MAX_TRIES):
        try:
            with context.database.write() as connection:
                return write(connection)
        except IntegrityError:
            continue
    raise ConflictError("other processes keep labelling the same predictions; send the labels again")


def record_absent_labels(
    context: AppContext,
    labels: Sequence[label_records.SubmittedLabel],
    verify_lease: Callable[[Connection], object],
) -> int:
    """Store the labels of answers that got none, but for those that got one meanwhile; returns how many were stored."""
    with context.database.write() as connection:
        verify_lease(connection)
        receipts = record_within(connection, context, labels, "", wait=False)
    return sum(receipt.outcome == "recorded" for receipt in receipts)


def reject_model_labels(model_name: str, labels: Sequence[label_records.SubmittedLabel]) -> None:
    """Raise InvalidInputError where a label has an unknown source or was given by a model."""
    model = model_name.lower()
    for label in labels:
        if label.source not in SOURCES_BY_TRUST:
            raise InvalidInputError(
                f"source {label.source!r} of the label for prediction {label.prediction_id} is none of "
                f"{', '.join(SOURCES_BY_TRUST)}; what a model answered cannot come back as a label"
            )
        reviewer = label.reviewer.lower().strip()
        if reviewer in (model, "model", "mlplatform", label_records.ABSENT_REVIEWER) or reviewer.startswith(
            (f"{model}:", f"{model} v", "model:")
        ):
            raise InvalidInputError(
                f"reviewer {label.reviewer!r} of the label for prediction {label.prediction_id} is a model; what a "
                "model answered cannot come back as a label"
            )


def match_pending_labels(context: AppContext) -> int:
    """Take the labels whose prediction has arrived, and give up those that waited too long; returns how many it took.

    One that cannot be taken is given up too. How many were, and why, is an entry in the audit log.
    """
    now, accepted, refused = context.clock(), 0, 0
    with context.database.read() as connection:
        matched = pending_labels.list_matched(connection, context.model_name, MATCH_BATCH_SIZE)
        if not matched and not pending_labels.has_expired(connection, now):
            return 0
    for pending in matched:
        try:
            record_labels(context, [pending.label])
            accepted += 1
        except (ConflictError, InvalidInputError) as error:
            log.error("a label that waited is given up: %s", error)
            refused += 1
    with context.database.write() as connection:
        pending_labels.delete_pending(connection, [pending.id for pending in matched])
        expired = pending_labels.delete_expired(connection, now)
        if expired + refused:
            log.error("%d label(s) waited too long for their predictions and were given up", expired)
            details = {"labels": expired + refused, "waited too long": expired, "refused": refused}
            audit_entries.append(connection, "watcher", GIVE_UP_ACTION, "waiting-labels", now, details)
    return accepted


def expired_label_count(connection: Connection, now: datetime) -> int:
    """How many labels that waited were given up in the last days."""
    entries = audit_entries.entries_since(connection, GIVE_UP_ACTION, "waiting-labels", now - pending_labels.MAX_WAIT)
    return sum(int(entry.details.get("labels", 0)) for entry in entries)


def record_within(
    connection: Connection,
    context: AppContext,
    labels: Sequence[label_records.SubmittedLabel],
    key_id: str,
    *,
    wait: bool,
) -> list[LabelReceipt]:
    """Take labels in a transaction of `write_labels`; raises as `record_labels`."""
    # 1. Which predictions are recorded (locked until the end), erased, or may still come.
    now, ids = context.clock(), {label.prediction_id for label in labels}
    origins = prediction_records.prediction_origins(connection, ids, lock=True)
    absent = ids - origins.keys()
    erased = find_erased(connection, absent, context.settings.retain_answers_days, now)
    awaited = {key for key in absent - erased if wait and prediction_ids.may_be_recorded_later(key, now)}

    # 2. Refuse all where one cannot be right.
    for label in labels:
        check_label_target(context.model_name, label, origins.get(label.prediction_id))
    if requests := pending_labels.find_request_ids(connection, context.model_name, awaited):
        raise NotFoundError(
            f"{min(requests)!r} is the id of a request, not of a prediction; nothing was taken. Label each of its "
            "answers by the `id` of `predictions`"
        )

    # 3. Store them, or keep them until their prediction comes, with what becomes of each in the order given.
    waiting = [label for label in labels if label.prediction_id in awaited]
    pending_ids = iter(pending_labels.add_pending(connection, waiting, context.model_name, now))
    storable = [label for label in labels if label.prediction_id not in awaited | erased]
    stored = iter(label_records.insert_labels(connection, storable, now))
    receipts = [
        label_records.FeedbackReceipt("", label.prediction_id, "erased")
        if label.prediction_id in erased
        else label_records.FeedbackReceipt(next(pending_ids), label.prediction_id, "waiting")
        if label.prediction_id in awaited
        else next(stored)
        for label in labels
    ]

    # 4. The audit log, and what to reply.
    _audit_labels(connection, labels, receipts, key_id, now)
    return _label_receipts(connection, labels, receipts, now)


def find_erased(connection: Connection, absent: Collection[str], retain_days: int, now: datetime) -> set[str]:
    """Those of the absent predictions that were erased: one by one, or because predictions are not kept that long."""
    erased = prediction_records.find_erased(connection, absent)
    if retain_days:
        kept_since = now - timedelta(days=retain_days)
        created = {prediction_id: prediction_ids.creation_time(prediction_id) for prediction_id in absent}
        return erased | {prediction_id for prediction_id, at in created.items() if at is not None and at < kept_since}
    return erased


def check_label_target(
    model_name: str, label: label_records.SubmittedLabel, origin: prediction_records.PredictionOrigin | None
) -> None:
    """Raise InvalidInputError where a label is for another model, or its time cannot be one."""
    if origin is not None and origin.model_name != model_name:
        raise InvalidInputError(
            f"prediction {label.prediction_id} was answered by model {origin.model_name!r}, and labels for "
            f"{model_name!r} are taken here; send it where that model is served"
        )
    if label.at < EARLIEST_PLAUSIBLE_TIME:
        raise InvalidInputError(
            f"the label for prediction {label.prediction_id} is given at {label.at:%Y-%m-%d %H:%M} UTC, as a time of "
            "zero is written; give the time it was known, or none"
        )


def check_label_time(
    label: label_records.SubmittedLabel, origin: prediction_records.PredictionOrigin | None, now: datetime
) -> None:
    """Raise InvalidInputError where a label was given long before the prediction that it names."""
    predicted_at = origin.at if origin is not None else None
    if predicted_at is None and prediction_ids.may_be_recorded_later(label.prediction_id, now):
        predicted_at = prediction_ids.creation_time(label.prediction_id) or now - pending_labels.MAX_WAIT
    if predicted_at is not None and label.at < predicted_at - MAX_LEAD_TIME:
        raise InvalidInputError(
            f"the label for prediction {label.prediction_id} is given at {label.at:%Y-%m-%d %H:%M} UTC, more than a "
            f"day before the prediction (of {predicted_at:%Y-%m-%d %H:%M} UTC); give the time it was known, or none"
        )


def _audit_labels(
    connection: Connection,
    labels: Sequence[label_records.SubmittedLabel],
    receipts: Sequence[label_records.FeedbackReceipt],
    key_id: str,
    now: datetime,
) -> None:
    """Append an entry to the audit log for each label that changed something."""
    unchanged = ("repeated", "waiting", "erased")
    changed = {receipt.id: receipt.prediction_id for receipt in receipts if receipt.outcome not in unchanged}
    rows = attested_rows.label_digests(connection, changed)
    for label, receipt in zip(labels, receipts, strict=True):
        if receipt.outcome not in unchanged:
            details: dict[str, object] = {"label": label.label, "source": label.source, "outcome": receipt.outcome}
            details |= {"rows": rows[receipt.id]} | ({"key": key_id} if key_id else {})
            subject = f"prediction/{label.prediction_id}"
            audit_entries.append(connection, label.reviewer or "api", "feedback", subject, now, details)


def _label_receipts(
    connection: Connection,
    labels: Sequence[label_records.SubmittedLabel],
    receipts: Sequence[label_records.FeedbackReceipt],
    now: datetime,
) -> list[LabelReceipt]:
    """What became of each label, with whether it estimates and why not."""
    audited = [label.prediction_id for label in labels if label.source == "audit"]
    unsampled = outcomes.find_unsampled(connection, audited) if audited else set()
    label_receipts = []
    for label, receipt in zip(labels, receipts, strict=True):
        not_drawn = label.source == "audit" and label.prediction_id in unsampled
        notes = {
            "waiting": PENDING_NOTE.format(f"{now + pending_labels.MAX_WAIT:%Y-%m-%d}"),
            "erased": ERASED_NOTE,
            "late": LATE_NOTE,
        }
        source_note = NOT_DRAWN_NOTE if not_drawn else CORRECTION_NOTE if label.source == "correction" else ""
        note = notes.get(receipt.outcome, source_note)
        counts = not note and label.source in ESTIMATION_SOURCES
        label_receipts.append(LabelReceipt(**vars(receipt), counts=counts, note=note))
    return label_receipts
