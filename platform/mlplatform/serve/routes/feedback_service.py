"""Labels arriving by HTTP: checked against the classes, written once; it judges no reviewer."""

from collections.abc import Sequence
from datetime import timedelta

from mlplatform.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import write_labels
from mlplatform.feedback.label_records import Accepted
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.predictions import prediction_records
from mlplatform.serve.middleware.auth_middleware import NOBODY, Caller
from mlplatform.serve.schemas import FeedbackOut
from mlplatform.serve.state import Server

FLUSH_SECONDS = 1.0
CLOCK_SKEW = timedelta(minutes=5)


def take_labels(server: Server, items: Sequence[FeedbackIn], caller: Caller = NOBODY) -> list[FeedbackOut]:
    """Take all labels or none, as the caller's where no reviewer is named.

    For a prediction answered a moment ago is waited; for one in a spool its label waits.
    """
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
        return _written(server, items, caller)
    except NotFoundError:
        server.recorder.flush(FLUSH_SECONDS)
        return _written(server, items, caller, wait=True)


def _time_lags(server: Server, items: Sequence[FeedbackIn], taken: Sequence[Accepted]) -> None:
    """Tell how long after its answer each new label came."""
    now = server.parts.clock()
    fresh = {
        row.prediction_id: item.source for item, row in zip(items, taken, strict=True) if row.outcome == "recorded"
    }
    try:
        with server.parts.database.read() as connection:
            times = prediction_records.times(connection, fresh)
    except StoreUnavailableError:  # the labels are taken: a number less must not look like a refusal
        return
    for key, at in times.items():
        server.metrics.labelled(fresh[key], max(0.0, (now - at).total_seconds()))


def _written(server: Server, items: Sequence[FeedbackIn], caller: Caller, *, wait: bool = False) -> list[FeedbackOut]:
    now = server.parts.clock()
    labels = [
        label_records.Label(
            item.prediction_id,
            item.label,
            item.source,
            item.reviewer or caller.name,
            item.at or now,
            item.idempotency_key,
            caller.name,
        )
        for item in items
    ]
    taken = write_labels(server.parts, labels, caller.key_id, wait=wait)
    _time_lags(server, items, taken)
    return [FeedbackOut(**vars(item)) for item in taken]
