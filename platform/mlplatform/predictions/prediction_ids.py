"""What the id of a prediction says: when it was made, and whether its row may still be on its way to the database.

An id made by this product is a time-ordered UUID (version 7), or follows from an `Idempotency-Key` (version 8, made in
`serve/inference/idempotency.py`), and then does not say when.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mlplatform.clock import EPOCH

MAX_RECORDING_DELAY: Final = timedelta(days=30)
"""How long after a prediction its row may still reach the database; until then it lies in a spool on some disk."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""The clocks of two hosts differ by less."""
UUID_TIME_ORDERED: Final = 7
UUID_FROM_KEY: Final = 8


def may_be_recorded_later(prediction_id: str, now: datetime) -> bool:
    """Whether an id may be that of a recent prediction; one that follows from a key does not say when it was made."""
    uuid = _parse_uuid(prediction_id)
    if uuid is None or uuid.version not in (UUID_TIME_ORDERED, UUID_FROM_KEY):
        return False
    created_at = creation_time(prediction_id)
    return created_at is None or now - MAX_RECORDING_DELAY <= created_at <= now + CLOCK_SKEW


def creation_time(prediction_id: str) -> datetime | None:
    """The moment in the id of a prediction; None where it says none."""
    uuid = _parse_uuid(prediction_id)
    if uuid is None or uuid.version != UUID_TIME_ORDERED:
        return None
    try:
        return EPOCH + timedelta(milliseconds=uuid.int >> 80)
    except OverflowError:  # of the year 10 000 or later
        return datetime.max.replace(tzinfo=EPOCH.tzinfo)


def _parse_uuid(text: str) -> UUID | None:
    """The UUID that is written as this; None for any other writing."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid if str(uuid) == text else None
