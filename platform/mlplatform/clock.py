"""Time and identity as parameters: the clock and the id maker, nothing about who asks."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def new_id(clock: Clock = utc_now) -> str:
    """A time-ordered UUID (version 7, RFC 9562 section 5.7) as 36 characters."""
    milliseconds = int(clock().timestamp() * 1000)
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))
