"""Labels arriving by HTTP: checked against the classes, written once; it judges no reviewer."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.exc import IntegrityError

from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.serve.bodies import FeedbackIn, FeedbackOut
from mlplatform.serve.server import Server
from mlplatform.store import audit, feedback

FLUSH_SECONDS = 1.0
TRIES = 3
CLOCK_SKEW = timedelta(minutes=5)


def take_labels(server: Server, items: Sequence[FeedbackIn]) -> list[FeedbackOut]:
    """Take all labels or none. A prediction answered a moment ago is waited for, not refused."""
    classes, latest = server.parts.family.classes, server.parts.clock() + CLOCK_SKEW
    for item in items:
        if item.label not in classes:
            raise InvalidInputError(
                f"label {item.label!r} for prediction {item.prediction_id} is not a class; "
                f"allowed: {', '.join(classes)}"
            )
        if item.at is not None and item.at > latest:  # nothing given later could supersede it
            raise InvalidInputError(f"label for prediction {item.prediction_id} is given at {item.at}, in the future")
    try:
        return _written(server, items)
    except NotFoundError:
        server.recorder.flush(FLUSH_SECONDS)
        return _written(server, items)


def _written(server: Server, items: Sequence[FeedbackIn]) -> list[FeedbackOut]:
    now = server.parts.clock()
    labels = [
        feedback.Label(item.prediction_id, item.label, item.source, item.reviewer, item.at or now) for item in items
    ]
    for _ in range(TRIES):
        try:
            with server.parts.database.write() as connection:
                taken = feedback.add(connection, labels, now)
                for label, accepted in zip(labels, taken, strict=True):
                    if accepted.outcome != "repeated":
                        details = {"label": label.label, "source": label.source, "outcome": accepted.outcome}
                        subject = f"prediction/{label.prediction_id}"
                        audit.note(connection, label.reviewer or "api", "feedback", subject, now, details)
            return [FeedbackOut(id=item.id, prediction_id=item.prediction_id, outcome=item.outcome) for item in taken]
        except IntegrityError:
            continue  # another process labelled the same prediction at the same moment: look again
    raise ConflictError("other processes keep labelling the same predictions; send the feedback again")
