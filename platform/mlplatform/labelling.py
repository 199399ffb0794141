"""Labels on their way into the store, with their trace in the audit log; it knows no HTTP and judges no reviewer."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError

from mlplatform.build import Parts
from mlplatform.errors import ConflictError
from mlplatform.store import audit, feedback

TRIES = 3


def write_labels(parts: Parts, labels: Sequence[feedback.Label], key_id: str = "") -> list[feedback.Accepted]:
    """Take labels, all or none, each that changes something with an entry in the audit log, which names the API key.

    Raises NotFoundError for predictions that are not known, ConflictError when other processes keep interfering.
    """
    now = parts.clock()
    for _ in range(TRIES):
        try:
            with parts.database.write() as connection:
                taken = feedback.add(connection, labels, now)
                for label, accepted in zip(labels, taken, strict=True):
                    if accepted.outcome != "repeated":
                        details = {"label": label.label, "source": label.source, "outcome": accepted.outcome}
                        details |= {"key": key_id} if key_id else {}
                        subject = f"prediction/{label.prediction_id}"
                        audit.note(connection, label.reviewer or "api", "feedback", subject, now, details)
            return taken
        except IntegrityError:
            continue  # another process labelled the same prediction at the same moment: look again
    raise ConflictError("other processes keep labelling the same predictions; send the labels again")
