"""Hours in which people are left alone."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from monitors.rules.quiet_hours import MuteHours


def hours(begin: str = "22:00", end: str = "07:00", **written: object) -> MuteHours:
    return MuteHours.model_validate({"from": begin, "to": end, **written})


def at(day: int, clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-0{day}T{clock}:00+00:00")  # the 2nd is a Monday


@pytest.mark.parametrize(("clock", "held"), [("21:59", False), ("22:00", True), ("03:00", True), ("07:00", False)])
def test_hours_may_pass_midnight(clock: str, held: bool) -> None:
    assert hours().covers("warning", at(3, clock)) is held


def test_days_are_those_on_which_the_hours_begin() -> None:
    weekend = hours(days=["sat"])
    assert weekend.covers("info", at(7, "23:00"))
    assert weekend.covers("info", at(8, "06:00")), "the night from Saturday to Sunday"
    assert not weekend.covers("info", at(7, "06:00"))
    assert not weekend.covers("info", at(8, "23:00"))


def test_what_is_critical_is_told_at_any_hour_unless_written() -> None:
    assert not hours().covers("critical", at(3, "23:00"))
    assert hours(severities=["critical"]).covers("critical", at(3, "23:00"))


def test_hours_are_those_of_their_time_zone() -> None:
    local = hours("12:00", "13:00", timezone="Europe/Zurich")
    assert local.covers("info", datetime(2026, 3, 2, 11, 30, tzinfo=UTC))
    assert local.covers("info", datetime(2026, 7, 1, 10, 30, tzinfo=UTC)), "in summer, too"
    assert not local.covers("info", datetime(2026, 3, 2, 12, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    "wrong", [{"from": "24:00"}, {"to": "7"}, {"timezone": "Mars/Base"}, {"days": []}, {"days": ["monday"]}]
)
def test_hours_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        hours(**{"begin": "22:00", **{{"from": "begin", "to": "end"}.get(k, k): v for k, v in wrong.items()}})  # type: ignore[arg-type]
