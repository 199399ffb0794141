"""Counts the values of a table's columns by cell: bins of numbers, categories one by one, values that are missing.

The cells of a column follow from its contract alone, so counts of different servers and hours are added, and compared
with those of the rows that the version was made with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from registry.column_profile import OTHER_CELLS, ColumnProfile
from registry.model_contract import NAMED_KINDS, Column, ColumnKind

BINS: Final = 32
"""Numbers are counted between so many quantiles of the rows that the version was made with."""
MAX_CATEGORIES: Final = 30
"""So many of the commonest categories are counted one by one; the other known ones together."""
MIN_ROWS_PER_CELL: Final = 5
"""A bin or category of fewer rows would tell about single ones."""
Counts = NDArray[np.int64]
_NO_PROFILE: Final = ColumnProfile()
_DRAW_SEED: Final = 0
_NO_CATEGORY: Final = object()
"""A value that no version knows."""
_MISSING: Final = "missing"


@dataclass(frozen=True)
class NumberCells:
    """Bins between cuts, what lies below and above the column's range, and missing values; of texts their lengths."""

    kind: ColumnKind
    cuts: tuple[float, ...]
    low: float
    high: float

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Each cell in words."""
        bins = tuple(_span(start, end) for start, end in pairwise((self.low, *self.cuts, self.high)))
        if self.kind == "yes-no" and len(bins) == 2:
            bins = ("no", "yes")
        if self.kind == "text":
            bins = tuple(f"{name} characters" for name in bins)
        return (*bins, f"below {self.low:.6g}", f"above {self.high:.6g}", _MISSING)

    def count(self, values: Sequence[Any]) -> Counts:
        """How many of the values, None or NaN where missing, lie in each cell."""
        if self.kind == "text":
            values = [None if value is None else len(value) for value in values]
        return self.count_numbers(np.array(values, dtype=np.float64))

    def count_numbers(self, numbers: NDArray[np.float64]) -> Counts:
        """The same of numbers, NaN where missing."""
        edges = self._edges
        counts = np.bincount(edges.searchsorted(numbers, side="right"), minlength=len(edges) + 1)
        missing = np.count_nonzero(np.isnan(numbers))
        return np.array([*counts[1:-1], counts[0], counts[-1] - missing, missing], dtype=np.int64)

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """Where each bin begins, and what is just above the range; a missing value comes behind all of them."""
        return np.array([self.low, *self.cuts, np.nextafter(self.high, np.inf)], dtype=np.float64)


@dataclass(frozen=True)
class CategoryCells:
    """Categories one by one, other known ones, unknown ones, and missing values, as which an empty text counts."""

    categories: tuple[str, ...]
    known: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Each cell in words."""
        return (*self.categories, "another known category", "a category that is not known", _MISSING)

    def count(self, values: Sequence[Any]) -> Counts:
        """How many of the values, None where missing, lie in each cell."""
        cells, counts = self._cells, [0] * len(self.names)
        for value, n in Counter(values).items():
            counts[cells.get(value, len(counts) - 2)] += n
        return np.array(counts, dtype=np.int64)

    @cached_property
    def _cells(self) -> dict[str | None, int]:
        one_by_one = len(self.categories)
        cells: dict[str | None, int] = dict.fromkeys(self.known, one_by_one)
        cells |= {name: place for place, name in enumerate(self.categories)}
        return cells | {None: one_by_one + OTHER_CELLS - 1, "": one_by_one + OTHER_CELLS - 1}


ColumnCells = NumberCells | CategoryCells


@dataclass(frozen=True)
class ColumnCounter:
    """Counts the kept rows of a table; columns whose values are not kept have no cells."""

    columns: tuple[Column, ...]

    @cached_property
    def cells(self) -> dict[str, ColumnCells]:
        """The cells of each column that is counted."""
        return {column.name: cells_of(column) for column in self.columns if column.kept}

    @cached_property
    def size(self) -> int:
        """How many cells there are in all."""
        return sum(len(cells.names) for cells in self.cells.values())

    def count(self, contents: Iterable[bytes]) -> Counts:
        """How many of the rows, each the JSON array of its values, lie in each cell, one column after the other.

        Raises ValueError or TypeError for what are no rows of these columns.
        """
        columns = list(zip(*map(orjson.loads, contents), strict=True)) or [()] * len(self.columns)
        numbers = iter(np.array([columns[place] for place in self._number_places], dtype=np.float64))
        parts = []
        for column, values in zip(self.columns, columns, strict=True):
            if column.kept:
                cells = self.cells[column.name]
                is_number = isinstance(cells, NumberCells) and column.kind not in NAMED_KINDS
                parts.append(cells.count_numbers(next(numbers)) if is_number else cells.count(values))  # type: ignore[union-attr]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def split(self, counts: Counts) -> dict[str, Counts]:
        """The counts of each column."""
        ends = np.cumsum([len(cells.names) for cells in self.cells.values()])
        return dict(zip(self.cells, np.split(counts, ends[:-1]), strict=True)) if self.cells else {}

    @cached_property
    def _number_places(self) -> tuple[int, ...]:
        """The places of counted columns that hold numbers."""
        return tuple(
            place for place, column in enumerate(self.columns) if column.kept and column.kind not in NAMED_KINDS
        )


def cells_of(column: Column) -> ColumnCells:
    """The cells of a column."""
    return _cells(column, column.profile or _NO_PROFILE)


def with_profile(column: Column, values: NDArray[Any], *, known_from_values: bool = False) -> Column:
    """The column with the profile of these values, NaN or None where missing; without where they may not be kept.

    Categories are chosen on a drawn half of the values and counted on the rest: the commonest of some rows are rarer in
    others. With `known_from_values`, where the known categories are those of the values, one that only a single value
    has counts as unknown: so many later rows have categories that these lacked (Good 1953).
    """
    if not column.kept:
        return replace(column, profile=None)
    counted = values.tolist()
    if column.kind == "category":
        shuffled = values[np.random.default_rng(_DRAW_SEED).permutation(len(values))]
        chosen = ColumnProfile(categories=_common_categories(shuffled[::2], column.known))
        counted = shuffled.tolist()
        total = Counter(counted)
        counted = [
            _NO_CATEGORY if known_from_values and value is not None and total[value] == 1 else value
            for value in counted[1::2]
        ]
    elif column.kind == "time":  # only there or missing, since times pass
        chosen = _NO_PROFILE
    elif column.kind == "yes-no":
        chosen = ColumnProfile(cuts=(0.5,))
    else:
        is_text = column.kind == "text"
        numbers = [len(value) for value in values if value is not None] if is_text else values
        chosen = ColumnProfile(cuts=_quantile_cuts(np.array(numbers, dtype=np.float64), *_range(column)))
    counts = _cells(column, chosen).count(counted)
    return replace(column, profile=replace(chosen, counts=tuple(counts.tolist())))


def _cells(column: Column, profile: ColumnProfile) -> ColumnCells:
    if column.kind == "category":
        return CategoryCells(profile.categories, column.known)
    return NumberCells(column.kind, profile.cuts, *_range(column))


def _range(column: Column) -> tuple[float, float]:
    return (-np.inf if column.low is None else column.low), (np.inf if column.high is None else column.high)


def _common_categories(values: NDArray[Any], known: tuple[str, ...]) -> tuple[str, ...]:
    taken = frozenset(known)
    counts = Counter(value for value in values.tolist() if value in taken)
    common = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_CATEGORIES]
    return tuple(name for name in common if counts[name] >= MIN_ROWS_PER_CELL)


def _quantile_cuts(values: NDArray[np.float64], low: float, high: float) -> tuple[float, ...]:
    """Where bins of about equally many values begin; a value that is many bins' worth by itself has its own."""
    inside = np.sort(values[(values >= low) & (values <= high)])  # a missing value is not inside
    bins = min(BINS, len(inside) // MIN_ROWS_PER_CELL)
    if bins < 2:
        return ()
    quantiles = inside[np.arange(1, bins) * len(inside) // bins]
    repeated = quantiles[1:][quantiles[1:] == quantiles[:-1]]
    cuts = np.unique(np.concatenate([quantiles, np.nextafter(repeated, np.inf)]))
    return tuple(cuts[(cuts > inside[0]) & (cuts <= inside[-1])].tolist())


def _span(start: float, end: float) -> str:
    if np.isinf(start):
        return "any value" if np.isinf(end) else f"up to {end:.6g}"
    if end == np.nextafter(start, np.inf):
        return f"{start:.6g}"
    return f"from {start:.6g}" if np.isinf(end) else f"{start:.6g} to {end:.6g}"
