"""A platform whose retrainings are carried out in this process."""

from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits

NO_LIMITS = RetrainingLimits(timedelta(0), 10)


def claimed(context: AppContext, pipeline: str = "bars") -> retraining_queue.Retraining:
    """A retraining that "me" has to carry out."""
    with context.database.write() as connection:
        retraining_queue.request(
            connection, pipeline=pipeline, reason="r", trigger="manual", requested_by="me", now=context.clock()
        )
        row = retraining_queue.claim(connection, pipeline, "me", NO_LIMITS, context.clock())
    assert row is not None
    return row


def now_of(context: AppContext, row: retraining_queue.Retraining) -> retraining_queue.Retraining:
    with context.database.read() as connection:
        return retraining_queue.find(connection, row.id)
