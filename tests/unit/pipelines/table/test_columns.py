"""Columns of a DataFrame become columns of a contract, and their values rows of a model, or an error says where not."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import DataError
from pipelines.table.columns import contract_columns, seconds_of, table_batch
from registry.model_contract import Column

MORNING = dt.datetime(2026, 11, 30, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("values", "column", "read"),
    [
        ([1.5, None, -0.0], Column("c", "number", low=0.0, high=1.5), [1.5, np.nan, 0.0]),
        ([3, 1, 2], Column("c", "whole", low=1.0, high=3.0), [3.0, 1.0, 2.0]),
        (pd.array([3, None], dtype="Int64"), Column("c", "whole", low=3.0, high=3.0), [3.0, np.nan]),
        (pd.array([1.5, None], dtype="Float64"), Column("c", "number", low=1.5, high=1.5), [1.5, np.nan]),
        ([True, False], Column("c", "yes-no"), [1.0, 0.0]),
        (pd.array([True, None], dtype="boolean"), Column("c", "yes-no"), [1.0, np.nan]),
        (pd.Series([True, None], dtype=object), Column("c", "yes-no"), [1.0, np.nan]),
        (pd.Series([Decimal("1.5"), 2], dtype=object), Column("c", "number", low=1.5, high=2.0), [1.5, 2.0]),
        (["b", None, "a", ""], Column("c", "category", known=("a", "b")), ["b", None, "a", None]),
        (pd.array(["b", None], dtype="string"), Column("c", "category", known=("b",)), ["b", None]),
        (pd.Categorical(["b", None], ["a", "b"]), Column("c", "category", known=("b",)), ["b", None]),
        ([MORNING, None], Column("c", "time"), [MORNING.timestamp(), np.nan]),
        (pd.Series([dt.date(1970, 1, 2)], dtype=object), Column("c", "time"), [86400.0]),
    ],
)
def test_kinds_ranges_and_categories_are_found(values: object, column: Column, read: list[object]) -> None:
    frame = pd.DataFrame({"c": values})
    found = contract_columns(frame, ["c"])
    assert tuple(replace(each, profile=None) for each in found) == (column,)
    assert found[0].profile is not None
    assert sum(found[0].profile.counts) == (len(frame) // 2 if column.kind == "category" else len(frame))
    array = table_batch(frame, found).array("c")
    assert array.dtype == (object if column.kind == "category" else np.float64)
    np.testing.assert_array_equal(array, np.array(read, dtype=array.dtype))
    assert not np.signbit(array.astype(np.float64)).any() if column.kind == "number" else True


@pytest.mark.parametrize(
    ("values", "column", "read"),
    [
        ([7, 12], Column("c", "category"), ["7", "12"]),
        ([7.0, None], Column("c", "category"), ["7", None]),
        (["long text " * 50], Column("c", "text"), ["long text " * 50]),
        (["2026-11-30T08:00:00Z", None], Column("c", "time"), [MORNING.timestamp(), np.nan]),
        ([1.0, 0.0], Column("c", "yes-no"), [1.0, 0.0]),
        ([5, 6], Column("c", "number", low=-1.0, high=9.0), [5.0, 6.0]),
    ],
)
def test_a_column_of_the_owners_is_taken_as_it_is(values: object, column: Column, read: list[object]) -> None:
    frame = pd.DataFrame({"c": values})
    [found] = contract_columns(frame, [column])
    assert (found.kind, found.low, found.high) == (column.kind, column.low, column.high)
    array = table_batch(frame, [found]).array("c")
    np.testing.assert_array_equal(array, np.array(read, dtype=array.dtype))


def test_the_owners_limits_and_categories_stay_and_open_ones_are_filled() -> None:
    frame = pd.DataFrame({"n": [5.0, 7.0], "c": ["a", "b"]})
    number, category = contract_columns(frame, [Column("n", "number", low=0.0), Column("c", "category", known=("z",))])
    assert (number.low, number.high) == (0.0, 7.0)
    assert category.known == ("z",)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            pd.Series([1, "x"], dtype=object),
            "the column 'c' mixes kinds: row 1 has 'x' of type str, after whole",
        ),
        (pd.Series(["x", 2.5], dtype=object), "row 1 has 2.5 of type float, after category values"),
        (pd.Series([[1], [2]], dtype=object), r"row 0 has \[1\] of type list"),
        ([None, None], r"has no value in 2 rows, so its kind is unknown; .* Column\('c', 'number'\)"),
        ([np.nan, np.nan], "has no value in 2 rows"),
        ([1.0, np.inf], "row 1: inf does not fit number"),
        ([1e300], r"row 0: 1e\+300 does not fit number; give a number from"),
        ([2**60], "does not fit whole; give a whole number up to"),
        (pd.Series([1 + 2j]), "is complex128, which no model here takes"),
        (pd.to_timedelta([1, 2], unit="s"), "is timedelta64"),
        ([f"id {number}" for number in range(1001)], r"has 1001 categories, such as 'id 0'; .* Column\('c', 'text'\)"),
        (["x" * 201], "has a category of 201 characters"),
        (["\ud800"], "row 0: .* does not fit category"),
    ],
)
def test_what_is_no_column_is_refused_with_the_place_and_the_remedy(values: object, reason: str) -> None:
    frame = pd.DataFrame({"c": values})
    with pytest.raises(DataError, match=reason):
        table_batch(frame, contract_columns(frame, ["c"]))


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ([1.5], Column("c", "whole"), "row 0: 1.5 does not fit whole; .* or say that it is a number"),
        ([2], Column("c", "yes-no"), "row 0: 2 does not fit yes-no; give True or False, 1 or 0"),
        (["x"], Column("c", "number"), "row 0: 'x' does not fit number; give number values alone"),
        (["yesterday"], Column("c", "time"), "row 0: 'yesterday' does not fit time"),
        ([1.5], Column("c", "category"), "row 0: 1.5 does not fit category"),
        ([True], Column("c", "text"), "row 0: True does not fit text"),
    ],
)
def test_values_of_another_kind_than_the_owner_says_are_refused(values: object, column: Column, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        table_batch(pd.DataFrame({"c": values}), [column])


def test_a_missing_or_doubled_column_is_named() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "b"])
    with pytest.raises(DataError, match="no column 'c'; they have 'a', 'b', 'b'"):
        contract_columns(frame, ["c"])
    with pytest.raises(DataError, match="2 columns named 'b'"):
        contract_columns(frame, ["b"])


def test_a_time_without_a_zone_is_in_utc() -> None:
    zoned = pd.Series(pd.to_datetime(["2026-11-30T09:00:00+01:00"]))
    naive = pd.Series(pd.to_datetime(["2026-11-30T08:00:00"]))
    assert seconds_of(zoned).tolist() == seconds_of(naive).tolist() == [MORNING.timestamp()]
