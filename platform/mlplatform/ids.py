"""Makes the ids of rows: UUIDs of version 7, which sort by the time they were made."""

import os
from datetime import timedelta

import uuid_utils

from mlplatform.clock import EPOCH, Clock

os.register_at_fork(after_in_child=uuid_utils.reseed_rng)  # else a child might give the ids of its parent


def uuid7(clock: Clock | None = None) -> str:
    """A time-ordered UUID (version 7, RFC 9562 section 5.7) as 36 characters.

    Those of one process are in the order in which they were made. With a clock they hold its millisecond, and are in
    no order within it.
    """
    if clock is None:
        return str(uuid_utils.uuid7())
    microseconds = (clock() - EPOCH) // timedelta(microseconds=1)
    return str(uuid_utils.uuid7(nanoseconds=microseconds * 1000))
