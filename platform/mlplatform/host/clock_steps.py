"""Detects steps of the wall clock with a monotonic one, and keeps schedule slots right after one."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from mlplatform.clock import EPOCH

MIN_STEP: Final = timedelta(seconds=2)
"""What differs less is drift, which is followed."""
REPORT_PERIOD: Final = timedelta(hours=1)


@dataclass(frozen=True)
class ClockStep:
    """The wall clock was set by so much, back where it is negative; `moment` is on the clock that goes forward."""

    offset: timedelta
    monotonic_at: float

    @property
    def text(self) -> str:
        """For people."""
        seconds = self.offset.total_seconds()
        return f"the clock was set {'back' if seconds < 0 else 'forward'} by {abs(seconds):.0f} s"


@dataclass
class ClockStepDetector:
    """Compares both clocks; safe to share between threads."""

    wall_clock: Callable[[], float] = time.time
    monotonic_clock: Callable[[], float] = time.monotonic
    last_step: ClockStep | None = None
    _offset: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._offset = self.wall_clock() - self.monotonic_clock()

    def poll(self) -> ClockStep | None:
        """The step since the last look, if there was one."""
        with self._lock:
            forward = self.monotonic_clock()
            by = timedelta(seconds=self.wall_clock() - forward - self._offset)
            self._offset += by.total_seconds()
            if abs(by) < MIN_STEP:
                return None
            self.last_step = ClockStep(by, forward)
            return self.last_step

    def stepped_within(self, seconds: float) -> bool:
        """Whether there was a step in the last so many seconds, or is one that was not looked at yet."""
        with self._lock:
            forward, last = self.monotonic_clock(), self.last_step
            pending = timedelta(seconds=abs(self.wall_clock() - forward - self._offset)) >= MIN_STEP
        return pending or (last is not None and forward - last.monotonic_at < seconds)

    @property
    def last_step_text(self) -> str | None:
        """The last step in words, for an hour."""
        last = self.last_step
        return (
            last.text
            if last is not None and self.monotonic_clock() - last.monotonic_at < REPORT_PERIOD.total_seconds()
            else None
        )


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


def slot_at(now: datetime, every: timedelta) -> datetime:
    """The schedule slot a moment belongs to: multiples of the interval since 1970, alike for all watchers."""
    return EPOCH + ((now - EPOCH) // every) * every
