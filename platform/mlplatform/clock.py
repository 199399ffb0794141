"""Time and identity as parameters: the clock and the id maker, nothing about who asks."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

Clock = Callable[[], datetime]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def new_id(clock: Clock = utc_now) -> str:
    """A time-ordered UUID (version 7, RFC 9562 section 5.7) as 36 characters, ordered to the microsecond."""
    milliseconds, microseconds = divmod((clock() - EPOCH) // timedelta(microseconds=1), 1000)
    fraction = microseconds * 4096 // 1000  # section 6.2, method 3: the clock's precision in front of the random bits
    random = int.from_bytes(os.urandom(8), "big") & (2**62 - 1)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | random))
