"""Counts how many predictions were recorded, wait or were lost, for `/readyz`, metrics and heartbeats."""

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RecorderCounts:
    """How many predictions were recorded, wait, were dropped, failed (no database takes them) and were refused.

    A refused prediction was not sent, because it could not be kept. `adopted` of those recorded were left by dead
    servers. `damaged` ones were set aside because their bytes were no rows any more. `set_aside` is what lies on this
    disk until a person decides, whoever put it there (`platform recording`). `database_replaced` is 1 while nothing is
    written because the database's file is no longer the one that was opened.
    """

    recorded: int
    queued: int
    dropped: int
    failed: int
    refused: int = 0
    adopted: int = 0
    damaged: int = 0
    set_aside: int = field(default=0, compare=False)
    database_replaced: int = 0


class RecorderCounters:
    """Counters since the start; any thread adds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("recorded", "dropped", "failed", "refused", "adopted", "damaged"), 0)

    def add(self, **increments: int) -> None:
        """Add to counters by name."""
        with self._lock:
            for name, count in increments.items():
                self._counts[name] += count

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def counts(self, *, queued: int, set_aside: int, replaced: bool) -> RecorderCounts:
        """The counters now, beside what is counted elsewhere."""
        with self._lock:
            return RecorderCounts(**self._counts, queued=queued, set_aside=set_aside, database_replaced=int(replaced))
