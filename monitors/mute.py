"""Hours in which people are not told about what can wait; actions still run, reminders go afterwards."""

from datetime import datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field

from monitors.channels import Strict

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is not a time zone; write an IANA name such as Europe/Zurich, or UTC")
    return name


class MuteHours(Strict):
    """A part of the day in some time zone, from its beginning up to its end; it may pass midnight."""

    from_: Annotated[str, Field(alias="from", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    to: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    severities: tuple[Literal["info", "warning", "critical"], ...] = ("info", "warning")

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
