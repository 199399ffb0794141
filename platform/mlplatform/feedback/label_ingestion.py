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
from mlplatform.context import Parts
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import label_records, outcomes, pending_labels, uncounted_labels
from mlplatform.feedback.label_precedence import SOURCES
from mlplatform.predictions import erased_predictions, prediction_records

log = logging.getLogger(__name__)
TRIES = 3
MATCHED_TOGETHER = 200
GIVE_UP: Final = "give-up-labels"
EARLIEST: Final = timedelta(days=1)
"""In a file a truth may be known before its answer is given, and clocks and zones differ; not by more."""
ZERO_TIMES_UNTIL: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What software writes for no time at all lies before: zero seconds since 1900, 1970 or 1980."""
WAITING: Final = (
    "no prediction of this id is recorded yet: the label waits for it until {}, and estimates nothing before; if this "
    "is the id of a request, none will come"
)
LATE: Final = "another label of the same giver was given later and stands; this one is kept as history"
ERASED: Final = "this prediction was erased; the label is not kept"
NOT_DRAWN: Final = (
    "this answer was not drawn for audit: the label trains and does not estimate; label what GET /v1/audit/next gives, "
    "or send truth that arrives by itself as `delayed`"
)
PICKED: Final = "a correction trains and does not estimate: it was picked for being an error"


@dataclass(frozen=True)
class Told(label_records.Accepted):
    """What whoever gave a label is told: what became of it, whether it estimates how good the model is, why not."""

    counts: bool = False
    note: str = ""


def write_labels(
    parts: Parts, labels: Sequence[label_records.Label], key_id: str = "", *, wait: bool = False
) -> list[Told]:
    """Take labels, all or none, each that changes something with an entry in the audit log, which names the API key.

    With `wait`, a label whose prediction may still be on its way to the table is kept until it arrives. Raises
    NotFoundError for other predictions that are not known, InvalidInputError for a giver that is a model and for a
    label that cannot be about its answer, ConflictError when other processes keep interfering or a key came with
    another label before.
    """
    check_givers(parts, labels)
    for _ in range(TRIES):
        try:
            with parts.database.write() as connection:
                return _take(connection, parts, labels, key_id, wait=wait)
        except IntegrityError:
            continue  # another process labelled the same prediction at the same moment: look again
    raise ConflictError("other processes keep labelling the same predictions; send the labels again")


def check_givers(parts: Parts, labels: Sequence[label_records.Label]) -> None:
    """Raise InvalidInputError where a label was not given by somebody who looked."""
    model = parts.family.name.lower()
    for label in labels:
        if label.source not in SOURCES:
            raise InvalidInputError(
                f"source {label.source!r} of the label for prediction {label.prediction_id} is none of "
                f"{', '.join(SOURCES)}; what a model answered cannot come back as a label"
            )
        giver = label.reviewer.lower().strip()
        if giver in (model, "model", "mlplatform") or giver.startswith((f"{model}:", f"{model} v", "model:")):
            raise InvalidInputError(
                f"reviewer {label.reviewer!r} of the label for prediction {label.prediction_id} is a model; what a "
                "model answered cannot come back as a label"
            )


def match_waiting(parts: Parts) -> int:
    """Take the labels whose prediction has arrived, and give up those that waited too long; returns how many came.

    One that cannot be taken is given up too. How many were, and why, is an entry in the audit log.
    """
    now, taken, refused = parts.clock(), 0, 0
    with parts.database.read() as connection:
        found = pending_labels.arrived(connection, parts.family.name, MATCHED_TOGETHER)
        if not found and not pending_labels.overdue(connection, now):
            return 0
    for each in found:
        try:
            write_labels(parts, [each.label])
            taken += 1
        except (ConflictError, InvalidInputError) as error:
            log.error("a label that waited is given up: %s", error)
            refused += 1
    with parts.database.write() as connection:
        pending_labels.remove(connection, [each.id for each in found])
        late = pending_labels.give_up(connection, now)
        if late + refused:
            log.error("%d label(s) waited too long for their predictions and were given up", late)
            details = {"labels": late + refused, "waited too long": late, "refused": refused}
            audit_entries.note(connection, "watcher", GIVE_UP, "waiting-labels", now, details)
    return taken


def given_up(connection: Connection, now: datetime) -> int:
    """How many labels that waited were given up in the last days."""
    entries = audit_entries.since(connection, GIVE_UP, "waiting-labels", now - pending_labels.LONGEST)
    return sum(int(each.details.get("labels", 0)) for each in entries)


def _take(
    connection: Connection, parts: Parts, labels: Sequence[label_records.Label], key_id: str, *, wait: bool
) -> list[Told]:
    now = parts.clock()
    known = prediction_records.places(connection, {label.prediction_id for label in labels}, lock=True)
    absent = {label.prediction_id for label in labels} - known.keys()
    gone = erased_among(connection, parts, absent, now)
    late = {key for key in absent - gone if wait and pending_labels.may_arrive(key, now)}
    for label in labels:
        check_place(parts, label, known.get(label.prediction_id))
    if requests := pending_labels.of_requests(connection, parts.family.name, late):
        raise NotFoundError(
            f"{min(requests)!r} is the id of a request, not of a prediction; nothing was taken. Label each of its "
            "answers by the `id` of `predictions`"
        )
    waits = [label for label in labels if label.prediction_id in late]
    kept = iter(pending_labels.keep(connection, waits, now))
    fitting = [label for label in labels if label.prediction_id not in late | gone]
    added = iter(label_records.add(connection, fitting, now))
    taken = [
        label_records.Accepted("", label.prediction_id, "erased")
        if label.prediction_id in gone
        else label_records.Accepted(next(kept), label.prediction_id, "waiting")
        if label.prediction_id in late
        else next(added)
        for label in labels
    ]
    _trace(connection, labels, taken, key_id, now)
    return _told(connection, labels, taken, now)


def erased_among(connection: Connection, parts: Parts, absent: Collection[str], now: datetime) -> set[str]:
    """Those of the absent predictions that were erased: one by one, or because they are older than answers are kept."""
    gone = erased_predictions.among(connection, absent)
    if days := parts.settings.retain_answers_days:
        old = {key for key in absent if (made := pending_labels.made_at(key)) and made < now - timedelta(days=days)}
        return gone | old
    return gone


def check_place(parts: Parts, label: label_records.Label, known: prediction_records.Known | None) -> None:
    """Raise InvalidInputError where a label is for another model, or its time is none at which labels were given."""
    name = parts.family.name
    if known is not None and known.model_name != name:
        raise InvalidInputError(
            f"prediction {label.prediction_id} was answered by model {known.model_name!r}, and labels for {name!r} are "
            "taken here; send it where that model is served"
        )
    if label.at < ZERO_TIMES_UNTIL:
        raise InvalidInputError(
            f"the label for prediction {label.prediction_id} is given at {label.at:%Y-%m-%d %H:%M} UTC, as a time of "
            "zero is written; give the time it was known, or none"
        )


def check_order(label: label_records.Label, known: prediction_records.Known | None, now: datetime) -> None:
    """Raise InvalidInputError where a label was given long before the prediction that it names."""
    answered = known.at if known is not None else None
    if answered is None and pending_labels.may_arrive(label.prediction_id, now):
        answered = pending_labels.made_at(label.prediction_id) or now - pending_labels.LONGEST
    if answered is not None and label.at < answered - EARLIEST:
        raise InvalidInputError(
            f"the label for prediction {label.prediction_id} is given at {label.at:%Y-%m-%d %H:%M} UTC, more than a "
            f"day before the prediction (of {answered:%Y-%m-%d %H:%M} UTC); give the time it was known, or none"
        )


def _trace(
    connection: Connection,
    labels: Sequence[label_records.Label],
    taken: Sequence[label_records.Accepted],
    key_id: str,
    now: datetime,
) -> None:
    """Write what changed into the audit log."""
    unchanged = ("repeated", "waiting", "erased")
    changed = {each.id: each.prediction_id for each in taken if each.outcome not in unchanged}
    rows = attested_rows.of_labels(connection, changed)
    for label, accepted in zip(labels, taken, strict=True):
        if accepted.outcome not in unchanged:
            details: dict[str, object] = {"label": label.label, "source": label.source, "outcome": accepted.outcome}
            details |= {"rows": rows[accepted.id]} | ({"key": key_id} if key_id else {})
            subject = f"prediction/{label.prediction_id}"
            audit_entries.note(connection, label.reviewer or "api", "feedback", subject, now, details)


def _told(
    connection: Connection,
    labels: Sequence[label_records.Label],
    taken: Sequence[label_records.Accepted],
    now: datetime,
) -> list[Told]:
    """What became of each label, with whether it estimates and why not."""
    audited = [label.prediction_id for label in labels if label.source == "audit"]
    silent = uncounted_labels.among(connection, audited) if audited else set()
    told = []
    for label, accepted in zip(labels, taken, strict=True):
        passed_over = label.source == "audit" and label.prediction_id in silent
        notes = {"waiting": WAITING.format(f"{now + pending_labels.LONGEST:%Y-%m-%d}"), "erased": ERASED, "late": LATE}
        usual = NOT_DRAWN if passed_over else PICKED if label.source == "correction" else ""
        note = notes.get(accepted.outcome, usual)
        told.append(Told(**vars(accepted), counts=not note and label.source in outcomes.ESTIMATING, note=note))
    return told
