"""The first days of a version, and which hours of them a later window is compared with.

What is asked and answered changes with the hour and the day of the week, without anything being wrong. So a window is
compared with the same hours of the same weekdays, as far as the reference holds a whole season of them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitors.errors import WindowError

Span = tuple[datetime, datetime]
"""A stretch of time, the end excluded."""
SEASONS: Final = (timedelta(days=7), timedelta(days=1))
"""What repeats: the week, and where the reference is shorter, the day."""


@dataclass(frozen=True)
class ReferencePeriod:
    """The stretch of a version's predictions that its later ones are compared with."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise WindowError(f"reference {self.start} to {self.end} is empty; start must be before end")

    @property
    def season(self) -> timedelta | None:
        """The longest season that it holds once or more; None where it is shorter than a day."""
        return next((season for season in SEASONS if season <= self.end - self.start), None)

    def comparable_window(self, start: datetime, end: datetime) -> Span | None:
        """What of a window can be compared: what lies after the reference, in whole seasons if it is longer than one.

        None while nothing does.
        """
        start, season = max(start, self.end), self.season
        if start >= end:
            return None
        if season is not None and end - start > season:
            start = end - (end - start) // season * season
        return start, end

    def matching_spans(self, window: Span) -> tuple[Span, ...]:
        """The stretches of the reference in the same hours of the week, or of the day, as a comparable window.

        Whole seasons for a window of whole seasons; all of it where the reference holds no season.
        """
        (start, end), season = window, self.season
        if season is None:
            return ((self.start, self.end),)
        if end - start >= season:
            return ((self.start, self.start + (self.end - self.start) // season * season),)
        back = (start - self.end) // season * season
        spans = []
        while end - back > self.start:
            first, last = max(self.start, start - back), min(self.end, end - back)
            if first < last:
                spans.append((first, last))
            back += season
        return tuple(sorted(spans))
