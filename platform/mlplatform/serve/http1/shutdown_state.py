"""Whether a server is about to end, and how much time is left; it ends nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

UNHURRIED_SECONDS: Final = 10.0
LAST_SECOND: Final = 1.0


@dataclass
class Ending:
    """The end of a server, `total` seconds after it was begun at the latest."""

    total: float
    clock: Callable[[], float] = time.monotonic
    begun_at: float | None = None

    def begin(self) -> None:
        """From now on."""
        if self.begun_at is None:
            self.begun_at = self.clock()

    @property
    def begun(self) -> bool:
        """Whether the server was told to end."""
        return self.begun_at is not None

    def left(self) -> float:
        """Seconds for the parts to close, one second kept back; enough of them where nobody waits."""
        if self.begun_at is None:
            return UNHURRIED_SECONDS
        return max(0.0, self.begun_at + self.total - self.clock() - LAST_SECOND)
