"""Rows as named arrays with one first axis: what models answer, what requests are decoded into, what is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import DataError


@dataclass(frozen=True, eq=False)
class Batch:
    """Named arrays, each with one entry per row along its first axis; at least one array, so that rows can be counted.

    Nothing is copied when a batch is made, and a slice shares the memory of what it was cut from.
    """

    arrays: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        first_name, length = "", -1
        for name, array in self.arrays.items():
            if not array.ndim:
                raise DataError(f"the array {name!r} is a single value; give an array with one entry per row")
            if length < 0:
                first_name, length = name, len(array)
            elif len(array) != length:
                raise DataError(
                    f"the array {name!r} has {len(array)} rows where {first_name!r} has {length}; "
                    "give each array one entry per row"
                )
        if length < 0:
            raise DataError("a batch without arrays has no rows to count; give at least one array")

    def __len__(self) -> int:
        for array in self.arrays.values():
            return len(array)
        return 0

    def __getitem__(self, rows: slice) -> Batch:
        """These rows, without copying them; single rows are slices of length one."""
        if not isinstance(rows, slice):
            raise TypeError(f"a batch is cut by slices, such as batch[3:4], not by {rows!r}; take() picks single rows")
        return Batch({name: array[rows] for name, array in self.arrays.items()})

    def take(self, rows: ArrayLike) -> Batch:
        """The rows at these positions, or where a boolean mask is true, in that order; a copy."""
        positions = row_positions(rows, len(self), "the batch")
        return Batch({name: array[positions] for name, array in self.arrays.items()})

    def array(self, name: str) -> NDArray[Any]:
        """The array of that name; raises DataError naming those that are there."""
        found = self.arrays.get(name)
        if found is None:
            raise DataError(f"there is no array {name!r} in these rows, which have {', '.join(self.arrays)}")
        return found

    @staticmethod
    def concat(parts: Sequence[Batch]) -> Batch:
        """The rows of all parts, one part after the other; a single part is given back as it is."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            raise DataError("no batches were given to put together; give at least one")
        names = parts[0].arrays.keys()
        for part in parts:
            if part.arrays.keys() != names:
                raise DataError(
                    f"rows with the arrays {', '.join(part.arrays)} cannot follow rows with {', '.join(names)}; "
                    "put rows of one model together"
                )
        return Batch({name: _joined(name, [part.arrays[name] for part in parts]) for name in names})


def _joined(name: str, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise DataError(f"the array {name!r} would mix entries of the shapes {sorted(shapes)}; resize them first")
    whole: NDArray[Any] = np.concatenate(arrays)
    return whole


def row_positions(rows: ArrayLike, size: int, name: str) -> NDArray[np.intp]:
    """The positions that a list of them or a boolean mask means, of `size` rows; raises DataError."""
    array = np.asarray(rows)
    if array.dtype == bool and array.shape == (size,):
        return np.flatnonzero(array)
    if array.size == 0:
        return np.zeros(0, dtype=np.intp)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= size:
        raise DataError(f"rows {rows!r} are not in {name}; give positions from 0 to {size - 1}")
    return array.astype(np.intp)
