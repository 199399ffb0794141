"""Reads rows of a table from JSON, and names row and column of a value that does not fit.

The usual way is one pass of msgspec over the text, typed by the columns. What that refuses, and what it cannot see (a
key that is given twice), is read a second time, value by value, for a sentence that says what fits.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import msgspec

from pipelines.batch import Batch
from pipelines.errors import DataError
from pipelines.input_row import InputRow
from pipelines.inputs.table_codec import JsonValue, TableCodec
from registry.model_contract import Column

LARGEST_WHOLE: Final = 2**53
"""Up to here every whole number is a float64 of its own."""
MAX_SHOWN_LENGTH: Final = 40
_KIND_TYPES: Final[dict[str, Any]] = {
    "number": float,
    "whole": float,
    "yes-no": bool,
    "category": str,
    "text": str,
    "time": float | str,
}
_JSON_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object in their order, doubled keys too."""


@dataclass(frozen=True)
class ParsedRows:
    """Rows as a model takes them, and each in its canonical form."""

    batch: Batch
    rows: list[InputRow]


@dataclass(frozen=True)
class RowParser:
    """Reads rows for the columns of a codec."""

    codec: TableCodec

    @cached_property
    def row_type(self) -> type[msgspec.Struct]:
        """One row as msgspec reads it: a field for each column, UNSET where it is not given."""
        columns = self.codec.columns
        fields = [
            (
                f"c{place}",
                _KIND_TYPES[column.kind] | None if column.optional else _KIND_TYPES[column.kind],
                msgspec.UNSET,
            )
            for place, column in enumerate(columns)
        ]
        names = {f"c{place}": column.name for place, column in enumerate(columns)}
        return msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False, frozen=True)

    def read(self, structs: Sequence[msgspec.Struct]) -> tuple[ParsedRows, int] | None:
        """The rows that msgspec read, and how many keys they had; None where they must be looked at value by value."""
        rows: list[Sequence[Any]] = [msgspec.structs.astuple(struct) for struct in structs]
        missing = sum([row.count(msgspec.UNSET) for row in rows])
        if missing:
            if any(row[place] is msgspec.UNSET for place in self._required for row in rows):
                return None
            rows = [[None if value is msgspec.UNSET else value for value in row] for row in rows]
        if self._converted:
            try:
                rows = [self._convert(row) for row in rows]
            except ValueError:
                return None
        return self._parsed(rows), len(rows) * len(self.codec.columns) - missing

    def read_objects(self, objects: Sequence[object], name: str = "rows") -> ParsedRows:
        """Rows given as objects, looked at value by value; raises DataError naming row and column."""
        places = {column.name: place for place, column in enumerate(self.codec.columns)}
        rows: list[Sequence[Any]] = []
        for number, item in enumerate(objects):
            where = f"{name}[{number}]"
            pairs = Pairs(item.items()) if isinstance(item, dict) else item
            if not isinstance(pairs, Pairs):
                raise DataError(f"{where} is no object; give one with a value for each column")
            row: list[Any] = [msgspec.UNSET] * len(places)
            for key, value in pairs:
                place = places.get(key)
                if place is None:
                    known = ", ".join(list(places)[:20]) + (" …" if len(places) > 20 else "")
                    raise DataError(f"{where}: {_shown(key)} is no column of this model; it takes {known}")
                if row[place] is not msgspec.UNSET:
                    raise DataError(f"{where}.{key} is given twice; give it once")
                row[place] = value
            rows.append(
                [self._checked(column, value, where) for column, value in zip(self.codec.columns, row, strict=True)]
            )
        return self._parsed(rows)

    def read_lists(self, names: Sequence[object], lists: Sequence[object], name: str) -> ParsedRows:
        """Rows given as lists of values, whose columns stand in the order of `names`; raises DataError."""
        columns = [column for column in names if isinstance(column, str)]
        if len(columns) < len(names):
            raise DataError("columns must be a list of names")
        objects = []
        for number, values in enumerate(lists):
            if not isinstance(values, list) or len(values) != len(columns):
                raise DataError(f"{name}[{number}] must be a list of {len(columns)} values, one for each column")
            objects.append(Pairs(zip(columns, values, strict=True)))
        return self.read_objects(objects, name)

    def _checked(self, column: Column, value: Any, where: str) -> JsonValue:  # noqa: ANN401 - JSON is any of its types
        if value is msgspec.UNSET or value is None or (isinstance(value, float) and math.isnan(value)):
            if column.optional:
                return None
            is_null = value is not msgspec.UNSET
            raise DataError(f"{where}.{column.name} is {'null' if is_null else 'missing'}; give {_WANTED[column.kind]}")
        try:
            return _READERS[column.kind](value)
        except ValueError as error:
            null = " or null" if column.optional else ""
            raise DataError(
                f"{where}.{column.name}: {_shown(value)} {error}; give {_WANTED[column.kind]}{null}"
            ) from None

    def _parsed(self, rows: list[Sequence[Any]]) -> ParsedRows:
        return ParsedRows(self.codec.batch_of(rows), self.codec.rows_of(rows))

    def _convert(self, row: Sequence[Any]) -> list[Any]:
        """The row with every value as its column has it; raises ValueError where one does not fit."""
        values = list(row)
        for place, read in self._converted:
            if values[place] is not None:
                values[place] = read(values[place])
        return values

    @cached_property
    def _required(self) -> tuple[int, ...]:
        return tuple(place for place, column in enumerate(self.codec.columns) if not column.optional)

    @cached_property
    def _converted(self) -> tuple[tuple[int, Callable[[object], JsonValue]], ...]:
        """The columns whose values are not what JSON holds, and how they are read."""
        readers: dict[str, Callable[[Any], JsonValue]] = {"yes-no": float, "time": _seconds, "whole": _exact_whole}
        columns = enumerate(self.codec.columns)
        return tuple((place, readers[column.kind]) for place, column in columns if column.kind in readers)


def count_keys(body: bytes) -> int:
    """How many keys the objects of a JSON text have in all."""
    if b"\\" not in body:
        colons = body.count(b":")
        if colons == body.count(b'":'):  # no text holds one, and no space stands before one
            return colons
    return without_texts(body).count(b":")


def without_texts(body: bytes) -> bytes:
    """A JSON text without its names and texts."""
    return _JSON_STRING.sub(b"", body)


def parse_pairs(body: bytes) -> object:
    """A JSON text with its objects as `Pairs`; raises ValueError for what is no JSON, also NaN and Infinity."""
    try:
        return json.loads(body.decode(), object_pairs_hook=Pairs, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _exact_whole(value: Any) -> float:  # noqa: ANN401 - a float by its type in `row_type`
    """The number, unless it is none that is whole, or may have been rounded when it was read."""
    if value.is_integer() and -LARGEST_WHOLE < value < LARGEST_WHOLE:
        number: float = value
        return number
    raise ValueError("must be looked at as it was written")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("is not finite")
    return number


def _whole(value: object) -> float:
    number = _number(value)
    if not number.is_integer():
        raise ValueError("is no whole number")
    if abs(value) > LARGEST_WHOLE:  # type: ignore[arg-type]  # a number by now
        raise ValueError("is too large to be held exactly")
    return number


def _yes_no(value: object) -> float:
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return float(value)
    raise ValueError("is neither true nor false")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a character (UTF-8 cannot hold it)") from None
    return value


def _seconds(value: object) -> float:
    """Seconds since 1970 UTC of an ISO 8601 text, in UTC where it names no zone, or the number itself."""
    if not isinstance(value, str):
        return _number(value)
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("is no time") from None


_READERS: Final[dict[str, Callable[[object], JsonValue]]] = {
    "number": _number,
    "whole": _whole,
    "yes-no": _yes_no,
    "category": _text,
    "text": _text,
    "time": _seconds,
}
_WANTED: Final[dict[str, str]] = {
    "number": "a number",
    "whole": f"a whole number of at most {LARGEST_WHOLE}",
    "yes-no": "true or false",
    "category": "a text",
    "text": "a text",
    "time": "an ISO 8601 text or seconds since 1970",
}


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, list | dict) else type(value).__name__
    return text.encode("ascii", "backslashreplace").decode()[:MAX_SHOWN_LENGTH]
