"""The values of a table's columns in a window, counted by cell, beside those of what they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitors.errors import WindowError

OUTSIDE_CELLS: Final = 3
"""The last cells of a column: below its range or other known categories, above it or unknown ones, and missing."""


@dataclass(frozen=True)
class CellLayout:
    """What the cells of a column are: bins of numbers in their order or categories, and behind them OUTSIDE_CELLS."""

    names: tuple[str, ...]
    is_category: bool = False
    has_range: bool = False

    @property
    def in_order(self) -> tuple[int, ...]:
        """The places of the cells of numbers from the smallest values to the largest; none of categories."""
        if self.is_category:
            return ()
        bins = len(self.names) - OUTSIDE_CELLS
        return (bins, *range(bins), bins + 1)


@dataclass(frozen=True)
class ColumnCounts:
    """How many values of a column lie in each of its cells, in the reference and in the window."""

    name: str
    cells: CellLayout
    reference: tuple[int, ...]
    newest: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.cells.names), len(self.reference), len(self.newest)}
        if len(sizes) > 1:
            raise WindowError(f"column {self.name!r} has counts of {sorted(sizes)} cells; count with one contract")

    @property
    def reference_rows(self) -> int:
        """How many values the reference has, missing ones included."""
        return sum(self.reference)

    @property
    def missing(self) -> tuple[int, int]:
        """How many values are missing, in the reference and in the window."""
        return self.reference[-1], self.newest[-1]

    @property
    def unseen(self) -> tuple[int, int]:
        """How many values are categories that the version does not know."""
        return self.reference[-2], self.newest[-2]

    @property
    def outside(self) -> tuple[int, int]:
        """How many values lie below or above the range."""
        return sum(self.reference[-3:-1]), sum(self.newest[-3:-1])


@dataclass(frozen=True)
class ColumnWindow:
    """The counted columns of a window of so many rows; `reference_text` says what they are compared with."""

    columns: tuple[ColumnCounts, ...]
    rows: int
    reference_text: str
    is_reference_complete: bool = True

    def named(self, names: Sequence[str]) -> tuple[ColumnCounts, ...]:
        """The columns of these names, or all where none is named."""
        return tuple(column for column in self.columns if column.name in names) if names else self.columns

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Those of the names that are no column here."""
        known = {column.name for column in self.columns}
        return [name for name in names if name not in known]
