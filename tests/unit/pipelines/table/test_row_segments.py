"""Rows are parted into segments that people know: values, quarters of numbers, missing, and the rare ones together."""

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import DataError
from pipelines.table.row_segments import MAX_SEGMENTS, MISSING, OTHER, row_segments


def test_few_values_are_segments_of_their_own() -> None:
    assert row_segments(pd.Series(["f", None, "m", " "])) == ("f", MISSING, "m", MISSING)
    assert row_segments(pd.Series([1.0, np.nan, 2.0])) == ("1", MISSING, "2")
    assert row_segments(pd.Series([True, False])) == ("True", "False")


def test_many_numbers_are_parted_in_quarters_of_about_equally_many_rows() -> None:
    segments = row_segments(pd.Series([*np.arange(100.0), np.nan]))
    assert segments[-1] == MISSING
    assert segments[0] == "below 24.75"
    assert segments[99] == "74.25 or more"
    assert sorted(segments.count(name) for name in set(segments)) == [1, 25, 25, 25, 25]


def test_a_number_that_is_everywhere_leaves_no_segment_without_a_name() -> None:
    segments = row_segments(pd.Series([0.0] * 900 + [float(value) for value in range(1, 101)]))
    assert set(segments) == {"0 or more"}


def test_rare_names_are_one_segment() -> None:
    names = [f"n{place}" for place in range(MAX_SEGMENTS + 5) for _ in range(2 if place < MAX_SEGMENTS else 1)]
    segments = row_segments(pd.Series(names))
    assert segments.count(OTHER) == 5
    assert len(set(segments)) == MAX_SEGMENTS + 1


def test_a_time_is_refused() -> None:
    with pytest.raises(DataError, match="'day' is a time"):
        row_segments(pd.Series(pd.to_datetime(["2026-01-01"]), name="day"))
