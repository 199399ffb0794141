"""Finds out what the columns of a DataFrame are, and reads their values as a model's rows.

Numbers become float64 with NaN for missing values, yes is 1.0 and no 0.0, a time is seconds since 1970 in UTC.
Categories and texts become `str`, with None for what is missing, which an empty text means as well.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.errors import DataError
from pipelines.inputs.column_counter import with_profile
from registry.contract_fields import MAX_NAME_LENGTH
from registry.model_contract import (
    MAX_CATEGORIES,
    RANGED_KINDS,
    Column,
    ColumnKind,
)

LARGEST_NUMBER: Final = float(np.finfo(np.float32).max)
"""A graph takes float32: above, a number would be infinite."""
LARGEST_WHOLE: Final = float(2**53)
_ONES: Final = (0.0, 1.0)


def contract_columns(frame: pd.DataFrame, columns: Sequence[str | Column]) -> tuple[Column, ...]:
    """The columns of a contract: kinds, ranges, categories and profiles as the rows have them.

    A `Column` is taken as it is, and only a range or categories that it leaves open are read from the rows. Raises
    DataError naming the column, what is wrong there, and what to do.
    """
    return tuple(_profiled(frame, column, _completed(frame, column)) for column in columns)


def _profiled(frame: pd.DataFrame, wanted: str | Column, column: Column) -> Column:
    values = _values(named_series(frame, column.name), column.kind)
    return with_profile(column, values, known_from_values=isinstance(wanted, str) or not wanted.known)


def table_batch(frame: pd.DataFrame, columns: Sequence[Column]) -> Batch:
    """The rows, one array a column; raises DataError naming the first value that does not fit its column's kind."""
    return Batch({column.name: _values(named_series(frame, column.name), column.kind) for column in columns})


def named_series(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column of this name; raises DataError naming those that are there."""
    if name not in frame.columns:
        raise DataError(f"the rows have no column {name!r}; they have {', '.join(map(repr, frame.columns))}")
    found = frame[name]
    if isinstance(found, pd.DataFrame):
        raise DataError(f"the rows have {found.shape[1]} columns named {name!r}; name each its own")
    return found


def seconds_of(series: pd.Series) -> NDArray[np.float64]:
    """Times as seconds since 1970 in UTC, NaN where missing; a time without a zone is in UTC."""
    return _values(series, "time").astype(np.float64)


def _completed(frame: pd.DataFrame, column: str | Column) -> Column:
    name = column if isinstance(column, str) else column.name
    series = named_series(frame, name)
    wanted = column if isinstance(column, Column) else Column(name, _kind(series))
    if wanted.kind in RANGED_KINDS and (wanted.low is None or wanted.high is None):
        values = _values(series, wanted.kind).astype(np.float64)
        present = values[~np.isnan(values)]
        if len(present):
            low = float(present.min()) if wanted.low is None else wanted.low
            high = float(present.max()) if wanted.high is None else wanted.high
            return replace(wanted, low=min(low, high), high=max(low, high))
    if wanted.kind == "category" and not wanted.known:
        return replace(wanted, known=_categories(series))
    return wanted


def _kind(series: pd.Series) -> ColumnKind:
    """The kind that the column's type says, or all its values where it has no type."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _kind(pd.Series(series.dtype.categories, name=series.name))
    if pd.api.types.is_bool_dtype(series.dtype):
        return "yes-no"
    if pd.api.types.is_integer_dtype(series.dtype):
        return "whole"
    if pd.api.types.is_float_dtype(series.dtype):
        if series.isna().all():
            raise _unknown_kind(series)
        return "number"
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return "time"
    if not (pd.api.types.is_object_dtype(series.dtype) or pd.api.types.is_string_dtype(series.dtype)):
        raise DataError(
            f"the column {series.name!r} is {series.dtype}, which no model here takes; make numbers, texts, times or "
            "booleans of it"
        )
    present = series[series.notna()]
    if present.empty:
        raise _unknown_kind(series)
    first = _kind_of_value(present.iloc[0])
    for row, value in present.items():
        kind = _kind_of_value(value)
        if {kind, first} == {"number", "whole"}:
            first = "number"
        elif kind is None or kind != first:
            raise DataError(
                f"the column {series.name!r} mixes kinds: row {row!r} has {value!r:.80} of type "
                f"{type(value).__name__}, after {first or 'other'} values; clean it, or leave it out"
            )
    assert first is not None
    return first


def _kind_of_value(value: object) -> ColumnKind | None:
    if isinstance(value, bool | np.bool_):
        return "yes-no"
    if isinstance(value, str):
        return "category"
    if isinstance(value, dt.date | np.datetime64):
        return "time"
    if isinstance(value, numbers.Integral):
        return "whole"
    return "number" if isinstance(value, numbers.Real) or hasattr(value, "as_tuple") else None


def _unknown_kind(series: pd.Series) -> DataError:
    return DataError(
        f"the column {series.name!r} has no value in {len(series)} rows, so its kind is unknown; leave it out, or say "
        f"what it is: Column({series.name!r}, 'number')"
    )


def _categories(series: pd.Series) -> tuple[str, ...]:
    """The texts that are there, sorted; raises DataError where they are no categories."""
    found = sorted({text for text in _values(series, "category") if text is not None and text.strip()})
    remedy = f"say that it is text, Column({series.name!r}, 'text'), group its values, or leave it out"
    if len(found) > MAX_CATEGORIES:
        raise DataError(
            f"the column {series.name!r} has {len(found)} categories, such as {found[0]!r:.80}; at most "
            f"{MAX_CATEGORIES} are watched one by one; {remedy}"
        )
    if long := [text for text in found if len(text) > MAX_NAME_LENGTH]:
        raise DataError(
            f"the column {series.name!r} has a category of {len(long[0])} characters, {long[0][:40]!r}…; at most "
            f"{MAX_NAME_LENGTH} make one; {remedy}"
        )
    return tuple(found)


def _values(series: pd.Series, kind: ColumnKind) -> NDArray[Any]:
    if kind in ("category", "text"):
        texts = np.empty(len(series), dtype=object)
        texts[:] = _each(series, kind, _text)
        return texts
    if kind == "time":
        return _seconds(series)
    if pd.api.types.is_numeric_dtype(series.dtype) and not isinstance(series.dtype, pd.CategoricalDtype):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = np.array(
            [math.nan if value is None else value for value in _each(series, kind, _number)], dtype=np.float64
        )
    _check_numbers(series, values, kind)
    positive: NDArray[np.float64] = values + 0.0  # -0.0 is 0.0
    return positive


def _check_numbers(series: pd.Series, values: NDArray[np.float64], kind: ColumnKind) -> None:
    """Raise DataError for the first number that does not fit."""
    largest = LARGEST_WHOLE if kind == "whole" else LARGEST_NUMBER
    bad = np.abs(values) > largest
    fits = f"a number from {-largest:g} to {largest:g}"
    if kind == "whole":
        bad |= ~np.isnan(values) & (np.trunc(values) != values)
        fits = "a whole number up to 2**53, or say that it is a number"
    elif kind == "yes-no":
        bad = ~np.isnan(values) & ~np.isin(values, _ONES)
        fits = "True or False, 1 or 0"
    for place in np.flatnonzero(bad)[:1]:
        raise _misfit(series, place, kind, fits)


def _each(series: pd.Series, kind: ColumnKind, convert: Callable[[object], Any]) -> list[Any]:
    """Each value converted, None where it is missing; raises DataError for the first that cannot be."""
    missing, found = series.isna().to_numpy(), []
    for place, value in enumerate(series.astype(object).to_list()):
        try:
            found.append(None if missing[place] else convert(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise _misfit(series, place, kind, f"{kind} values alone, or None where one is missing") from error
    return found


def _text(value: object) -> str | None:
    if isinstance(value, str):
        value.encode()  # half a character cannot be sent
        return str(value) or None
    if isinstance(value, bool | np.bool_):
        raise TypeError(value)
    if isinstance(value, int | float | np.number) and int(value) == value:
        return str(int(value))  # the number of a store, say
    raise TypeError(value)


def _number(value: object) -> float:
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(value)
    return float(value)  # a Decimal, a Fraction, a number of any kind


def _seconds(series: pd.Series) -> NDArray[np.float64]:
    if pd.api.types.is_numeric_dtype(series.dtype):
        values: NDArray[np.float64] = series.to_numpy(dtype=np.float64, na_value=np.nan)
        _check_numbers(series, values, "time")
        return values
    try:
        moments = pd.to_datetime(series, utc=True, format=None if series.dtype != object else "ISO8601")
    except (TypeError, ValueError, OverflowError):
        _each(series, "time", lambda value: pd.to_datetime(value, utc=True, format="ISO8601"))
        raise DataError(
            f"the column {series.name!r} has times that cannot be read; give them in ISO 8601, "
            "as '2026-11-30T08:00:00Z'"
        ) from None
    naive = moments.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    seconds: NDArray[np.float64] = naive.astype(np.int64) / 1e6
    return np.where(np.isnat(naive), np.nan, seconds)


def _misfit(series: pd.Series, place: int, kind: ColumnKind, fits: str) -> DataError:
    value = series.iloc[place]
    shown = value.item() if isinstance(value, np.generic) else value
    return DataError(
        f"the column {series.name!r}, row {series.index[place]!r}: {shown!r:.80} does not fit {kind}; give {fits}"
    )
