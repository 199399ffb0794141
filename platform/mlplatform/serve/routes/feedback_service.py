"""Labels arriving by HTTP: checked against the classes, written once; it judges no reviewer."""

from collections.abc import Sequence
from datetime import timedelta

from mlplatform.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import FeedbackReceipt
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.predictions import prediction_records
from mlplatform.serve.middleware.auth_middleware import ANONYMOUS, Caller
from mlplatform.serve.schemas import FeedbackOut
from mlplatform.serve.state import ApiServer

FLUSH_TIMEOUT_SECONDS = 1.0
MAX_CLOCK_SKEW = timedelta(minutes=5)


def accept_feedback(server: ApiServer, items: Sequence[FeedbackIn], caller: Caller = ANONYMOUS) -> list[FeedbackOut]:
    """Take all labels or none, as the caller's where no reviewer is named.

    For a prediction answered a moment ago is waited; for one in a spool its label waits.
    """
    classes, latest = server.context.pipeline.classes, server.context.clock() + MAX_CLOCK_SKEW
    for item in items:
        if item.label not in classes:
            raise InvalidInputError(
                f"label {item.label!r} for prediction {item.prediction_id} is not a class; "
                f"allowed: {', '.join(classes)}"
            )
        if item.at is not None and item.at > latest:  # nothing given later could supersede it
            raise InvalidInputError(f"label for prediction {item.prediction_id} is given at {item.at}, in the future")
    try:
        return _record_labels(server, items, caller)
    except NotFoundError:
        server.recorder.flush(FLUSH_TIMEOUT_SECONDS)
        return _record_labels(server, items, caller, wait=True)


def _observe_label_lags(server: ApiServer, items: Sequence[FeedbackIn], accepted: Sequence[FeedbackReceipt]) -> None:
    """Tell how long after its answer each new label came."""
    now = server.context.clock()
    fresh = {
        row.prediction_id: item.source for item, row in zip(items, accepted, strict=True) if row.outcome == "recorded"
    }
    try:
        with server.context.database.read() as connection:
            times = prediction_records.prediction_times(connection, fresh)
    except StoreUnavailableError:  # the labels are taken: a number less must not look like a refusal
        return
    for key, at in times.items():
        server.metrics.observe_label_lag(fresh[key], max(0.0, (now - at).total_seconds()))


def _record_labels(
    server: ApiServer, items: Sequence[FeedbackIn], caller: Caller, *, wait: bool = False
) -> list[FeedbackOut]:
    now = server.context.clock()
    labels = [
        label_records.SubmittedLabel(
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
    taken = record_labels(server.context, labels, caller.key_id, wait=wait)
    _observe_label_lags(server, items, taken)
    return [FeedbackOut(**vars(item)) for item in taken]
