"""Time and identity as parameters: the clock and the id maker, nothing about who asks."""

import os
import struct
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POOL_SIZE = 128
_random_pool: deque[int] = deque()
"""Random numbers of the system's, drawn many at once: a call of it for every id lets another thread in each time."""
os.register_at_fork(after_in_child=_random_pool.clear)  # else a child would give the ids of its parent


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def uuid7(clock: Clock | None = None) -> str:
    """A time-ordered UUID (version 7, RFC 9562 section 5.7) as 36 characters, ordered to the microsecond."""
    now = time.time_ns() // 1000 if clock is None else (clock() - EPOCH) // timedelta(microseconds=1)
    milliseconds, microseconds = divmod(now, 1000)
    fraction = microseconds * 4096 // 1000  # section 6.2, method 3: the clock's precision in front of the random bits
    text = f"{milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | _random():032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _random() -> int:
    """62 random bits."""
    try:
        return _random_pool.pop() >> 2
    except IndexError:
        first, *rest = struct.unpack(f"{_POOL_SIZE}Q", os.urandom(8 * _POOL_SIZE))
        _random_pool.extend(rest)
        return int(first) >> 2
