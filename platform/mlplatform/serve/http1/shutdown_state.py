"""Whether a server is about to end, and how much time is left; it ends nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

DEFAULT_CLOSE_SECONDS: Final = 10.0
RESERVED_SECONDS: Final = 1.0


@dataclass
class ShutdownState:
    """The end of a server, `total` seconds after it was begun at the latest."""

    total_seconds: float
    clock: Callable[[], float] = time.monotonic
    started_at: float | None = None

    def start(self) -> None:
        """From now on."""
        if self.started_at is None:
            self.started_at = self.clock()

    @property
    def has_started(self) -> bool:
        """Whether the server was told to end."""
        return self.started_at is not None

    def seconds_left(self) -> float:
        """Seconds for the parts to close, one second kept back; enough of them where nobody waits."""
        if self.started_at is None:
            return DEFAULT_CLOSE_SECONDS
        return max(0.0, self.started_at + self.total_seconds - self.clock() - RESERVED_SECONDS)
