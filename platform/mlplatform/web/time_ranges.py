"""The lengths of time that pages show, each with the stretches it is counted by."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mlplatform.errors import InvalidInputError
from mlplatform.predictions.prediction_counts import minute_index, minute_start
from mlplatform.store.rollups import DAY_MINUTES, HOUR_MINUTES, span_start


@dataclass(frozen=True)
class TimeRange:
    """A length up to now: counts of `span` minutes are read and shown in stretches of `bucket` minutes."""

    name: str
    title: str
    length: timedelta
    span: int
    bucket: int

    def minutes(self, now: datetime) -> tuple[int, int]:
        """The minutes that are read, from the start of a stretch on."""
        return span_start(minute_index(now - self.length), self.bucket), minute_index(now) + 1

    def start(self, now: datetime) -> datetime:
        """The moment the first stretch begins."""
        return minute_start(self.minutes(now)[0])

    @property
    def stretch(self) -> timedelta:
        """How long one stretch is."""
        return timedelta(minutes=self.bucket)


TIME_RANGES: Final = (
    TimeRange("2h", "2 hours", timedelta(hours=2), 1, 5),
    TimeRange("24h", "24 hours", timedelta(days=1), HOUR_MINUTES, HOUR_MINUTES),
    TimeRange("7d", "7 days", timedelta(days=7), HOUR_MINUTES, 6 * HOUR_MINUTES),
    TimeRange("30d", "30 days", timedelta(days=30), DAY_MINUTES, DAY_MINUTES),
    TimeRange("90d", "90 days", timedelta(days=90), DAY_MINUTES, 3 * DAY_MINUTES),
)
DEFAULT_RANGE: Final = "7d"


def time_range(name: str) -> TimeRange:
    """The range of that name; raises InvalidInputError."""
    for known in TIME_RANGES:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in TIME_RANGES)
    raise InvalidInputError(f"range {name[:40]!r} is none; there are: {names}")
