"""How the values of a column were spread over the rows that a version was made with: its bins, and their counts.

The bins are where the values of later rows are counted; the counts are what they are compared with.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from registry.contract_fields import fields_of, finite_number, list_of, names_of, shown
from registry.errors import ContractError

MAX_CUTS: Final = 100
OTHER_CELLS: Final = 3
"""The cells behind bins or categories: below the range or other known categories; above it or unknown ones; missing."""
MAX_ROWS: Final = 2**53


@dataclass(frozen=True)
class ColumnProfile:
    """The cells of a column, and how many rows had a value in each.

    Numbers (of texts their lengths) are counted between `cuts`, of which each begins a bin; categories one by one where
    they are among `categories`. `counts` has a number for each bin or category in their order, then those of
    OTHER_CELLS.
    """

    cuts: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cuts", tuple(finite_number(cut, "profile.cuts") for cut in self.cuts))

    def check(self, where: str, *, is_named: bool) -> None:
        """Raise ContractError unless it can be of a column, whose values are categories or else numbers."""
        if self.cuts if is_named else self.categories:
            raise ContractError(f"{where}: cuts are for numbers, categories for texts that are few; register it again")
        names_of(self.categories, f"{where}: categories", 0, MAX_CUTS)
        if len(self.cuts) > MAX_CUTS or any(first >= second for first, second in pairwise(self.cuts)):
            raise ContractError(
                f"{where}: cuts {shown(self.cuts)}; give at most {MAX_CUTS}, each larger than the one before"
            )
        if len(self.counts) != self.cell_count(is_named=is_named):
            raise ContractError(f"{where}: {len(self.counts)} counts for {self.cell_count(is_named=is_named)} cells")
        for count in self.counts:
            if type(count) is not int or not 0 <= count <= MAX_ROWS:
                raise ContractError(f"{where}: {shown(count)} is no number of rows; give a whole number from 0 on")

    def cell_count(self, *, is_named: bool) -> int:
        """How many cells there are."""
        return (len(self.categories) if is_named else len(self.cuts) + 1) + OTHER_CELLS

    def to_dict(self) -> dict[str, list[float] | list[str] | list[int]]:
        """All of it, as JSON has it."""
        return {"cuts": list(self.cuts), "categories": list(self.categories), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, document: object, where: str) -> "ColumnProfile":
        """The profile that was written down; raises ContractError for what is none."""
        values = fields_of(document, where, ("cuts", "categories", "counts"))
        cuts, categories, counts = (tuple(list_of(value, f"{where}.{name}")) for name, value in values.items())
        return cls(cuts, categories, counts)
