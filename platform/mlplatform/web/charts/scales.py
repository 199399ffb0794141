"""Maps values and moments to places on a chart, and chooses the ticks that people read them by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.svg import CANVAS_WIDTH, element, percent

_TIME_STEPS: Final = tuple(
    timedelta(minutes=minutes) for minutes in (1, 5, 10, 30, 60, 180, 360, 720, 1440, 2880, 7200, 10080, 20160, 43200)
)
_MAX_TIME_TICKS: Final = 5


@dataclass(frozen=True)
class TimeScale:
    """Moments from `start` to `end` across the canvas; those outside lie at its edges."""

    start: datetime
    end: datetime

    def place(self, moment: datetime) -> float:
        """Where a moment lies, from 0 to CANVAS_WIDTH."""
        share = (moment - self.start) / max(self.end - self.start, timedelta(seconds=1))
        return CANVAS_WIDTH * min(1.0, max(0.0, share))

    @property
    def ticks(self) -> list[tuple[datetime, str]]:
        """At most five round moments, with their text: the time of day, or the day where the span is long."""
        length = self.end - self.start
        step = next((step for step in _TIME_STEPS if length / step <= _MAX_TIME_TICKS), length / _MAX_TIME_TICKS)
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        first = math.ceil((self.start - epoch) / step)
        moments = [epoch + step * number for number in range(first, int((self.end - epoch) / step) + 1)]
        form = "%H:%M" if step < timedelta(days=1) and length <= timedelta(days=1) else "%d %b"
        if step < timedelta(days=1) < length:
            form = "%d %b %H:%M"
        return [(moment, f"{moment:{form}}") for moment in moments]


@dataclass(frozen=True)
class ValueScale:
    """Values from `low` at the bottom to `high` at the top of `height` pixels below `top`."""

    low: float
    high: float
    top: float
    height: float

    def place(self, value: float) -> float:
        """Where a value lies, in pixels from above."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.top + self.height * (1 - min(1.0, max(0.0, share)))

    @property
    def ticks(self) -> list[float]:
        """Three to six round values."""
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def time_ticks(scale: TimeScale, y: float) -> list[Markup]:
    """The texts of a time axis, those at its ends within the chart."""
    ticks = []
    for moment, text in scale.ticks:
        x = scale.place(moment)
        anchor = "start" if x < CANVAS_WIDTH / 20 else "end" if x > CANVAS_WIDTH * 19 / 20 else "middle"
        ticks.append(element("text", text, class_="tick", x=percent(x), y=y, text_anchor=anchor))
    return ticks


def value_scale(
    values: Sequence[float], top: float, height: float, *, least: float | None = None, most: float | None = None
) -> ValueScale:
    """A scale that holds all values with a little room, within `least` and `most` where these are given."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room
    return ValueScale(low if least is None else max(least, low), high if most is None else min(most, high), top, height)


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10, 20 … at or above it."""
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * (1 - 1e-9))
