"""Time and identity as parameters: the clock and the id maker, nothing about who asks."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def new_id(clock: Clock | None = None) -> str:
    """A time-ordered UUID (version 7, RFC 9562 section 5.7) as 36 characters, ordered to the microsecond."""
    now = time.time_ns() // 1000 if clock is None else (clock() - EPOCH) // timedelta(microseconds=1)
    milliseconds, microseconds = divmod(now, 1000)
    fraction = microseconds * 4096 // 1000  # section 6.2, method 3: the clock's precision in front of the random bits
    random = int.from_bytes(os.urandom(8), "big") & (2**62 - 1)
    text = f"{milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | random:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
