"""Inputs that are rows of a table, with columns as a model's contract names them.

A batch has one array per column. Numbers, whole numbers, yes-no and times are float64 with NaN where a value is missing
(yes is 1, a time is seconds since 1970 UTC); categories and texts are objects, `str` or None.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.errors import DataError
from pipelines.input_row import ROW_FORM_PREFIX, InputRow
from registry.model_contract import NAMED_KINDS, Column

HASH_BUCKETS: Final = 64
_EXPONENT: Final = re.compile(rb"e(?<=\de)")
"""What may be a number's exponent, which orjson writes otherwise; within a text it means nothing."""
JsonValue = float | int | bool | str | None


@dataclass(frozen=True)
class TableCodec:
    """Rows of a table; kept as the JSON array of their values in the contract's order."""

    columns: tuple[Column, ...]

    @cached_property
    def form(self) -> str:
        """The form of its rows: a digest of the names and kinds of the columns."""
        described = orjson.dumps([[column.name, column.kind] for column in self.columns])
        return ROW_FORM_PREFIX + hashlib.sha256(described).hexdigest()[:16]

    @cached_property
    def identifies(self) -> bool:
        """Whether rows that are written down alike are alike; not where a column's values are not kept."""
        return all(column.kept for column in self.columns)

    def blank(self, count: int) -> Batch:
        """So many rows of zeros within their limits, first known categories and empty texts."""
        return Batch({column.name: _blank_values(column, count) for column in self.columns})

    def form_mismatch(self, form: str) -> str | None:
        """Why a kept row of this form cannot be read; None where it can."""
        return None if form == self.form else "its row was kept with other columns than the model has"

    def rows(self, batch: Batch) -> list[InputRow]:
        """Each row's values as one JSON array, null where a value is missing or its column is not kept."""
        columns = [batch.array(column.name).tolist() for column in self.columns]
        return self.rows_of(list(zip(*columns, strict=True)))

    def rows_of(self, rows: Sequence[Sequence[Any]]) -> list[InputRow]:
        """The same of rows whose values stand in the columns' order, missing ones None or NaN, numbers as floats."""
        form, hidden = self.form, self._hidden
        if hidden:
            rows = [[None if place in hidden else value for place, value in enumerate(row)] for row in rows]
        return [InputRow(form, _canonical(row)) for row in rows]

    def unpack(self, kept: Sequence[bytes]) -> Batch:
        """The rows in these JSON arrays; raises DataError for those of other columns."""
        rows: list[list[JsonValue]] = [orjson.loads(content) for content in kept]
        for row in rows:
            if len(row) != len(self.columns):
                raise DataError(f"a kept row has {len(row)} values, the model takes {len(self.columns)} columns")
        return self.batch_of(rows)

    def to_record(self, content: bytes) -> dict[str, JsonValue]:
        """A kept row as an object, each value as a request would give it."""
        values = orjson.loads(content)
        return {column.name: json_value(column, value) for column, value in zip(self.columns, values, strict=True)}

    def batch_of(self, rows: Sequence[Sequence[JsonValue]]) -> Batch:
        """Rows whose values stand in the columns' order, None where missing, numbers already as floats."""
        numbers, named = self._places
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.columns)
        arrays: dict[str, NDArray[Any]] = {}
        if numbers:
            matrix = np.array([columns[place] for place in numbers.values()], dtype=np.float64)
            matrix += 0.0  # -0.0 is 0.0: equal numbers are one content
            arrays = dict(zip(numbers, matrix, strict=True))
        if named:
            texts = np.array([columns[place] for place in named.values()], dtype=object)
            arrays |= zip(named, texts, strict=True)
        return Batch(arrays)

    def measures(self, batch: Batch) -> Mapping[str, NDArray[Any]]:
        """The numbers and categories themselves, and how long texts are; times are left out, since they pass."""
        measured: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            array = batch.array(column.name)
            if column.kind == "category":
                measured[column.name] = np.array(["" if value is None else value for value in array], dtype=object)
            elif column.kind == "text":
                lengths = [np.nan if value is None else len(value) for value in array]
                measured[column.name] = np.array(lengths, dtype=np.float64)
            elif column.kind != "time":
                measured[column.name] = array
        return measured or {"rows": np.zeros(len(batch), dtype=np.float64)}

    def fingerprints(self, batch: Batch) -> NDArray[np.float32]:
        """The values hashed into few numbers (Weinberger et al. 2009): magnitudes of numbers, names as they are."""
        table = np.zeros((len(batch), HASH_BUCKETS))
        for column in self.columns:
            array = batch.array(column.name)
            if column.kind in NAMED_KINDS:
                for place, value in enumerate(array):
                    bucket, sign = _bucket(f"{column.name}\0{value}")
                    table[place, bucket] += sign
            else:
                bucket, sign = _bucket(column.name)
                absent, absent_sign = _bucket(f"{column.name}\0")
                table[:, bucket] += sign * np.arcsinh(np.nan_to_num(array))
                table[:, absent] += absent_sign * np.isnan(array)
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        units: NDArray[np.float64] = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)
        return units.astype(np.float32)

    def near_duplicates(self, candidates: Batch, protected: Batch) -> NDArray[np.bool_]:
        """Which candidates have exactly the values of a protected row."""
        held = {row.content for row in self.rows(protected)}
        return np.array([row.content in held for row in self.rows(candidates)], dtype=bool)

    def first_occurrences(self, batch: Batch) -> NDArray[np.int64]:
        """The first of the rows with exactly the values of each."""
        first: dict[bytes, int] = {}
        places = [first.setdefault(row.content, place) for place, row in enumerate(self.rows(batch))]
        return np.array(places, dtype=np.int64)

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        """The places of columns of numbers, and of columns of texts, by their names."""
        places = {column.name: place for place, column in enumerate(self.columns)}
        named = {column.name: places[column.name] for column in self.columns if column.kind in NAMED_KINDS}
        return {name: place for name, place in places.items() if name not in named}, named

    @cached_property
    def _hidden(self) -> frozenset[int]:
        """The places of columns whose values are not kept."""
        return frozenset(place for place, column in enumerate(self.columns) if not column.kept)


def canonical_text(values: Sequence[JsonValue]) -> bytes:
    """A row's values as the JSON array that is its content, numbers as Python's `repr` writes them."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _canonical(values: Sequence[Any]) -> bytes:
    """The same, faster: orjson differs only where it writes very large and very small numbers."""
    content = orjson.dumps(values)
    if b"0.0000" in content or b"-0.0" in content or (b"e" in content and _EXPONENT.search(content)):
        return canonical_text([_plain(value) for value in values])
    return content


def _plain(value: Any) -> JsonValue:  # noqa: ANN401 - a value of any column
    """None for a missing value, and 0.0 for -0.0."""
    if isinstance(value, float):
        return None if value != value else value + 0.0
    return value  # type: ignore[no-any-return]


def json_value(column: Column, value: JsonValue) -> JsonValue:
    """A value of a batch, or of a kept row, as a request would give it; None where it is missing."""
    if value is None or value != value:
        return None
    if column.kind == "yes-no":
        return bool(value)
    if column.kind in NAMED_KINDS:
        return value
    return int(value) if column.kind == "whole" else float(value)


def _blank_values(column: Column, count: int) -> NDArray[Any]:
    if column.kind in NAMED_KINDS:
        values = np.empty(count, dtype=object)
        values[:] = column.known[0] if column.known else ""
        return values
    low, high = (-np.inf if column.low is None else column.low), (np.inf if column.high is None else column.high)
    return np.full(count, np.clip(0.0, low, high), dtype=np.float64)


def _bucket(name: str) -> tuple[int, int]:
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    return int.from_bytes(digest[:2], "big") % HASH_BUCKETS, 1 if digest[2] & 1 else -1
