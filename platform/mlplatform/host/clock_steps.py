"""Steps of the wall clock, seen against a clock that only goes forward, and what they ask of schedules."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mlplatform.clock import EPOCH

LEAST: Final = timedelta(seconds=2)
"""What differs less is drift, which is followed."""
TOLD_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Step:
    """The wall clock was set by so much, back where it is negative; `moment` is on the clock that goes forward."""

    by: timedelta
    moment: float

    @property
    def words(self) -> str:
        """For people."""
        seconds = self.by.total_seconds()
        return f"the clock was set {'back' if seconds < 0 else 'forward'} by {abs(seconds):.0f} s"


@dataclass
class ClockSteps:
    """Compares both clocks; safe to share between threads."""

    wall: Callable[[], float] = time.time
    forward: Callable[[], float] = time.monotonic
    last: Step | None = None
    _apart: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._apart = self.wall() - self.forward()

    def look(self) -> Step | None:
        """The step since the last look, if there was one."""
        with self._lock:
            forward = self.forward()
            by = timedelta(seconds=self.wall() - forward - self._apart)
            self._apart += by.total_seconds()
            if abs(by) < LEAST:
                return None
            self.last = Step(by, forward)
            return self.last

    def within(self, seconds: float) -> bool:
        """Whether there was a step in the last so many seconds, or is one that was not looked at yet."""
        with self._lock:
            forward, last = self.forward(), self.last
            pending = timedelta(seconds=abs(self.wall() - forward - self._apart)) >= LEAST
        return pending or (last is not None and forward - last.moment < seconds)

    @property
    def told(self) -> str | None:
        """The last step in words, for an hour."""
        last = self.last
        return last.words if last is not None and self.forward() - last.moment < TOLD_FOR.total_seconds() else None


def due_slot(slot: datetime, now: datetime, every: timedelta, newest: tuple[datetime, datetime] | None) -> datetime:
    """The slot to evaluate for: the schedule's own, or the next one where slots were used up by a clock that was ahead.

    `newest` is the newest slot that was evaluated, and when by its evaluator's clock. A slot that was used is returned
    where nothing is due.
    """
    if newest is None or newest[0] <= slot:
        return slot
    used, at = newest
    ahead = at - now > min(every, timedelta(seconds=30))
    waited = now - at >= every * 0.9
    return used + every if ahead or waited else used


def slot_of(now: datetime, every: timedelta) -> datetime:
    """The schedule slot a moment belongs to: multiples of the interval since 1970, alike for all watchers."""
    return EPOCH + ((now - EPOCH) // every) * every
