"""Hours in which people are not notified of what can wait; actions still run, reminders go afterwards."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field

from monitors.rules.channel_config import StrictModel

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MAX_JOINED_WINDOWS = 21


def _validate_timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is not a time zone; write an IANA name such as Europe/Zurich, or UTC")
    return name


class MuteHours(StrictModel):
    """A part of the day in some time zone, from its beginning up to its end; it may pass midnight."""

    from_: Annotated[str, Field(alias="from", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    to: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    timezone: Annotated[str, AfterValidator(_validate_timezone)] = "UTC"
    severities: tuple[Literal["info", "warning", "critical"], ...] = ("info", "warning")

    def end_after(self, at: datetime) -> datetime:
        """When hours that cover a moment end."""
        zone = ZoneInfo(self.timezone)
        day, end = at.astimezone(zone).date(), time.fromisoformat(self.to)
        ends = (datetime.combine(day + timedelta(days=ahead), end, zone).astimezone(UTC) for ahead in range(3))
        return next(end_at for end_at in ends if end_at > at)

    def covers(self, severity: str, at: datetime) -> bool:
        """Whether a notice of that severity is held back at that moment; `days` are those on which the hours begin."""
        if severity not in self.severities:
            return False
        local = at.astimezone(ZoneInfo(self.timezone))
        begin, end, now = time.fromisoformat(self.from_), time.fromisoformat(self.to), local.time()
        today, yesterday = (DAYS[(local - timedelta(days=ago)).weekday()] for ago in (0, 1))
        if begin < end:
            return today in self.days and begin <= now < end
        return (today in self.days and now >= begin) or (yesterday in self.days and now < end)


def earliest_send_time(hours: Sequence[MuteHours], severity: str, at: datetime) -> datetime:
    """From when on a notice of that severity may be told: the moment itself, or the end of the hours that cover it.

    Hours that cover each other's ends without a gap hold it back for MAX_JOINED_WINDOWS of them at most.
    """
    moment = at
    for _ in range(MAX_JOINED_WINDOWS):
        covering = next((window for window in hours if window.covers(severity, moment)), None)
        if covering is None:
            break
        moment = covering.end_after(moment)
    return moment
