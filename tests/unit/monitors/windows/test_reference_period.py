"""Which hours of a version's first days a window is compared with."""

from datetime import UTC, datetime, timedelta

import pytest

from monitors.errors import WindowError
from monitors.windows.reference_period import ReferencePeriod

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WEEK = ReferencePeriod(MONDAY + 9 * HOUR, MONDAY + 9 * HOUR + 7 * DAY)


def test_a_day_is_compared_with_the_same_hours_of_the_same_weekday() -> None:
    thursday = MONDAY + 31 * DAY
    window = WEEK.comparable_window(thursday, thursday + DAY)
    assert window == (thursday, thursday + DAY)
    assert WEEK.matching_spans(window) == ((MONDAY + 3 * DAY, MONDAY + 4 * DAY),)


def test_a_window_over_the_hour_in_which_the_reference_began_is_compared_with_both_its_ends() -> None:
    monday = MONDAY + 28 * DAY
    assert WEEK.matching_spans((monday, monday + DAY)) == (
        (MONDAY + 9 * HOUR, MONDAY + DAY),
        (MONDAY + 7 * DAY, MONDAY + 7 * DAY + 9 * HOUR),
    )


def test_what_lies_in_the_reference_is_no_part_of_the_window() -> None:
    assert WEEK.comparable_window(WEEK.end - DAY, WEEK.end) is None
    window = WEEK.comparable_window(WEEK.end - 20 * HOUR, WEEK.end + 4 * HOUR)
    assert window == (WEEK.end, WEEK.end + 4 * HOUR)
    assert WEEK.matching_spans(window) == ((WEEK.start, WEEK.start + 4 * HOUR),)


def test_a_long_window_is_compared_in_whole_weeks() -> None:
    end = WEEK.end + 40 * DAY
    window = WEEK.comparable_window(end - 10 * DAY, end)
    assert window == (end - 7 * DAY, end)
    assert WEEK.matching_spans(window) == ((WEEK.start, WEEK.end),)


def test_two_weeks_of_reference_give_twice_the_hours_and_three_days_the_hours_of_the_day() -> None:
    fortnight = ReferencePeriod(MONDAY, MONDAY + 14 * DAY)
    later = MONDAY + 30 * DAY + 5 * HOUR
    assert fortnight.matching_spans((later, later + HOUR)) == (
        (MONDAY + 2 * DAY + 5 * HOUR, MONDAY + 2 * DAY + 6 * HOUR),
        (MONDAY + 9 * DAY + 5 * HOUR, MONDAY + 9 * DAY + 6 * HOUR),
    )
    short = ReferencePeriod(MONDAY, MONDAY + 3 * DAY)
    assert len(short.matching_spans((later, later + HOUR))) == 3


def test_a_reference_shorter_than_a_day_is_compared_as_a_whole() -> None:
    short = ReferencePeriod(MONDAY, MONDAY + 10 * timedelta(minutes=1))
    assert short.season is None
    assert short.matching_spans((MONDAY + DAY, MONDAY + 2 * DAY)) == ((short.start, short.end),)


def test_a_reference_of_no_length_is_refused() -> None:
    with pytest.raises(WindowError, match="is empty"):
        ReferencePeriod(MONDAY, MONDAY)
