"""Labels on their way into the store, with their trace in the audit log; it knows no HTTP and judges no reviewer.

A label comes from outside the platform: what a model answered is refused as one, whoever sends it.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mlplatform.audit import attested_rows, audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import label_records, outcomes, pending_labels, uncounted_labels
from mlplatform.feedback.label_precedence import SOURCES_BY_TRUST
from mlplatform.predictions import erased_predictions, prediction_records

log = logging.getLogger(__name__)
MAX_TRIES = 3
MATCH_BATCH_SIZE = 200
GIVE_UP_ACTION: Final = "give-up-labels"
MAX_LEAD_TIME: Final = timedelta(days=1)
"""In a file a truth may be known before its answer is given, and clocks and zones differ; not by more."""
EARLIEST_PLAUSIBLE_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What software writes for no time at all lies before: zero seconds since 1900, 1970 or 1980."""
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
    """What whoever gave a label is told: what became of it, whether it estimates how good the model is, why not."""

    counts: bool = False
    note: str = ""


def record_labels(
    context: AppContext, labels: Sequence[label_records.SubmittedLabel], key_id: str = "", *, wait: bool = False
) -> list[LabelReceipt]:
    """Take labels, all or none, each that changes something with an entry in the audit log, which names the API key.

    With `wait`, a label whose prediction may still be on its way to the table is kept until it arrives. Raises
    NotFoundError for other predictions that are not known, InvalidInputError for a giver that is a model and for a
    label that cannot be about its answer, ConflictError when other processes keep interfering or a key came with
    another label before.
    """
    reject_model_labels(context, labels)
    for _ in range(MAX_TRIES):
        try:
            with context.database.write() as connection:
                return _record_labels(connection, context, labels, key_id, wait=wait)
        except IntegrityError:
            continue  # another process labelled the same prediction at the same moment: look again
    raise ConflictError("other processes keep labelling the same predictions; send the labels again")


def reject_model_labels(context: AppContext, labels: Sequence[label_records.SubmittedLabel]) -> None:
    """Raise InvalidInputError where a label was not given by somebody who looked."""
    model = context.pipeline.name.lower()
    for label in labels:
        if label.source not in SOURCES_BY_TRUST:
            raise InvalidInputError(
                f"source {label.source!r} of the label for prediction {label.prediction_id} is none of "
                f"{', '.join(SOURCES_BY_TRUST)}; what a model answered cannot come back as a label"
            )
        giver = label.reviewer.lower().strip()
        if giver in (model, "model", "mlplatform") or giver.startswith((f"{model}:", f"{model} v", "model:")):
            raise InvalidInputError(
                f"reviewer {label.reviewer!r} of the label for prediction {label.prediction_id} is a model; what a "
                "model answered cannot come back as a label"
            )


def match_pending_labels(context: AppContext) -> int:
    """Take the labels whose prediction has arrived, and give up those that waited too long; returns how many came.

    One that cannot be taken is given up too. How many were, and why, is an entry in the audit log.
    """
    now, taken, refused = context.clock(), 0, 0
    with context.database.read() as connection:
        found = pending_labels.list_matched(connection, context.pipeline.name, MATCH_BATCH_SIZE)
        if not found and not pending_labels.has_expired(connection, now):
            return 0
    for each in found:
        try:
            record_labels(context, [each.label])
            taken += 1
        except (ConflictError, InvalidInputError) as error:
            log.error("a label that waited is given up: %s", error)
            refused += 1
    with context.database.write() as connection:
        pending_labels.delete_pending(connection, [each.id for each in found])
        late = pending_labels.delete_expired(connection, now)
        if late + refused:
            log.error("%d label(s) waited too long for their predictions and were given up", late)
            details = {"labels": late + refused, "waited too long": late, "refused": refused}
            audit_entries.append(connection, "watcher", GIVE_UP_ACTION, "waiting-labels", now, details)
    return taken


def expired_label_count(connection: Connection, now: datetime) -> int:
    """How many labels that waited were given up in the last days."""
    entries = audit_entries.entries_since(connection, GIVE_UP_ACTION, "waiting-labels", now - pending_labels.MAX_WAIT)
    return sum(int(each.details.get("labels", 0)) for each in entries)


def _record_labels(
    connection: Connection,
    context: AppContext,
    labels: Sequence[label_records.SubmittedLabel],
    key_id: str,
    *,
    wait: bool,
) -> list[LabelReceipt]:
    now = context.clock()
    known = prediction_records.prediction_origins(connection, {label.prediction_id for label in labels}, lock=True)
    absent = {label.prediction_id for label in labels} - known.keys()
    gone = find_erased(connection, context, absent, now)
    late = {key for key in absent - gone if wait and pending_labels.may_be_recorded_later(key, now)}
    for label in labels:
        check_label_target(context, label, known.get(label.prediction_id))
    if requests := pending_labels.find_request_ids(connection, context.pipeline.name, late):
        raise NotFoundError(
            f"{min(requests)!r} is the id of a request, not of a prediction; nothing was taken. Label each of its "
            "answers by the `id` of `predictions`"
        )
    waits = [label for label in labels if label.prediction_id in late]
    kept = iter(pending_labels.add_pending(connection, waits, now))
    fitting = [label for label in labels if label.prediction_id not in late | gone]
    added = iter(label_records.insert_labels(connection, fitting, now))
    taken = [
        label_records.FeedbackReceipt("", label.prediction_id, "erased")
        if label.prediction_id in gone
        else label_records.FeedbackReceipt(next(kept), label.prediction_id, "waiting")
        if label.prediction_id in late
        else next(added)
        for label in labels
    ]
    _audit_labels(connection, labels, taken, key_id, now)
    return _receipts(connection, labels, taken, now)


def find_erased(connection: Connection, context: AppContext, absent: Collection[str], now: datetime) -> set[str]:
    """Those of the absent predictions that were erased: one by one, or because they are older than answers are kept."""
    gone = erased_predictions.find_erased(connection, absent)
    if days := context.settings.retain_answers_days:
        old = {
            key for key in absent if (made := pending_labels.creation_time(key)) and made < now - timedelta(days=days)
        }
        return gone | old
    return gone


def check_label_target(
    context: AppContext, label: label_records.SubmittedLabel, known: prediction_records.PredictionOrigin | None
) -> None:
    """Raise InvalidInputError where a label is for another model, or its time is none at which labels were given."""
    name = context.pipeline.name
    if known is not None and known.model_name != name:
        raise InvalidInputError(
            f"prediction {label.prediction_id} was answered by model {known.model_name!r}, and labels for {name!r} are "
            "taken here; send it where that model is served"
        )
    if label.at < EARLIEST_PLAUSIBLE_TIME:
        raise InvalidInputError(
            f"the label for prediction {label.prediction_id} is given at {label.at:%Y-%m-%d %H:%M} UTC, as a time of "
            "zero is written; give the time it was known, or none"
        )


def check_label_time(
    label: label_records.SubmittedLabel, known: prediction_records.PredictionOrigin | None, now: datetime
) -> None:
    """Raise InvalidInputError where a label was given long before the prediction that it names."""
    answered = known.at if known is not None else None
    if answered is None and pending_labels.may_be_recorded_later(label.prediction_id, now):
        answered = pending_labels.creation_time(label.prediction_id) or now - pending_labels.MAX_WAIT
    if answered is not None and label.at < answered - MAX_LEAD_TIME:
        raise InvalidInputError(
            f"the label for prediction {label.prediction_id} is given at {label.at:%Y-%m-%d %H:%M} UTC, more than a "
            f"day before the prediction (of {answered:%Y-%m-%d %H:%M} UTC); give the time it was known, or none"
        )


def _audit_labels(
    connection: Connection,
    labels: Sequence[label_records.SubmittedLabel],
    accepted_labels: Sequence[label_records.FeedbackReceipt],
    key_id: str,
    now: datetime,
) -> None:
    """Write what changed into the audit log."""
    unchanged = ("repeated", "waiting", "erased")
    changed = {each.id: each.prediction_id for each in accepted_labels if each.outcome not in unchanged}
    rows = attested_rows.label_digests(connection, changed)
    for label, accepted in zip(labels, accepted_labels, strict=True):
        if accepted.outcome not in unchanged:
            details: dict[str, object] = {"label": label.label, "source": label.source, "outcome": accepted.outcome}
            details |= {"rows": rows[accepted.id]} | ({"key": key_id} if key_id else {})
            subject = f"prediction/{label.prediction_id}"
            audit_entries.append(connection, label.reviewer or "api", "feedback", subject, now, details)


def _receipts(
    connection: Connection,
    labels: Sequence[label_records.SubmittedLabel],
    accepted_labels: Sequence[label_records.FeedbackReceipt],
    now: datetime,
) -> list[LabelReceipt]:
    """What became of each label, with whether it estimates and why not."""
    audited = [label.prediction_id for label in labels if label.source == "audit"]
    silent = uncounted_labels.find_unsampled(connection, audited) if audited else set()
    told = []
    for label, accepted in zip(labels, accepted_labels, strict=True):
        passed_over = label.source == "audit" and label.prediction_id in silent
        notes = {
            "waiting": PENDING_NOTE.format(f"{now + pending_labels.MAX_WAIT:%Y-%m-%d}"),
            "erased": ERASED_NOTE,
            "late": LATE_NOTE,
        }
        usual = NOT_DRAWN_NOTE if passed_over else CORRECTION_NOTE if label.source == "correction" else ""
        note = notes.get(accepted.outcome, usual)
        told.append(
            LabelReceipt(**vars(accepted), counts=not note and label.source in outcomes.ESTIMATION_SOURCES, note=note)
        )
    return told
