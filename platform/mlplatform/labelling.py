"""Labels on their way into the store, with their trace in the audit log; it knows no HTTP and judges no reviewer.

A label comes from outside the platform: what a model answered is refused as one, whoever sends it.
"""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mlplatform.build import Parts
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.store import audit, feedback, predictions, waiting
from mlplatform.store.truths import SOURCES

log = logging.getLogger(__name__)
TRIES = 3
MATCHED_TOGETHER = 200


def write_labels(
    parts: Parts, labels: Sequence[feedback.Label], key_id: str = "", *, wait: bool = False
) -> list[feedback.Accepted]:
    """Take labels, all or none, each that changes something with an entry in the audit log, which names the API key.

    With `wait`, a label whose prediction may still be on its way to the table is kept until it arrives. Raises
    NotFoundError for other predictions that are not known, InvalidInputError for a giver that is a model, ConflictError
    when other processes keep interfering or a key came with another label before.
    """
    check_givers(parts, labels)
    for _ in range(TRIES):
        try:
            with parts.database.write() as connection:
                return _take(connection, parts, labels, key_id, wait=wait)
        except IntegrityError:
            continue  # another process labelled the same prediction at the same moment: look again
    raise ConflictError("other processes keep labelling the same predictions; send the labels again")


def check_givers(parts: Parts, labels: Sequence[feedback.Label]) -> None:
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
    """Take the labels whose prediction has arrived, and give up those that waited too long; returns how many came."""
    now, taken = parts.clock(), 0
    with parts.database.read() as connection:
        found = waiting.arrived(connection, MATCHED_TOGETHER)
        if not found and not waiting.overdue(connection, now):
            return 0
    for each in found:
        try:
            write_labels(parts, [each.label])
            taken += 1
        except ConflictError as error:
            log.error("a label that waited is given up: %s", error)
    with parts.database.write() as connection:
        waiting.remove(connection, [each.id for each in found])
        if given_up := waiting.give_up(connection, now):
            log.error("%d label(s) waited too long for their predictions and were given up", given_up)
            audit.note(connection, "watcher", "give-up-labels", "waiting-labels", now, {"labels": given_up})
    return taken


def _take(
    connection: Connection, parts: Parts, labels: Sequence[feedback.Label], key_id: str, *, wait: bool
) -> list[feedback.Accepted]:
    now = parts.clock()
    late = [label for label in labels if wait and waiting.may_arrive(label.prediction_id, now)]
    there = predictions.known(connection, {label.prediction_id for label in late})
    late = [label for label in late if label.prediction_id not in there]
    kept = iter(waiting.keep(connection, late, now))
    known = iter(feedback.add(connection, [label for label in labels if label not in late], now))
    taken = [
        feedback.Accepted(next(kept), label.prediction_id, "waiting") if label in late else next(known)
        for label in labels
    ]
    for label, accepted in zip(labels, taken, strict=True):
        if accepted.outcome not in ("repeated", "waiting"):
            details = {"label": label.label, "source": label.source, "outcome": accepted.outcome}
            details |= {"key": key_id} if key_id else {}
            subject = f"prediction/{label.prediction_id}"
            audit.note(connection, label.reviewer or "api", "feedback", subject, now, details)
    return taken
