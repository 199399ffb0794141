"""Explains the answer to one row of a table: what each column's value does, beside the usual value of that column.

Feature ablation, one column at a time (Zeiler and Fergus 2014; Covert, Lundberg and Lee 2021): a value is replaced by
about the median (`usual_value`), or the commonest category, of the rows that the version was made with, and the
probability of a class falls by as much as the value spoke for it. Where no usual value is known, as of texts and times,
the value is made missing. Columns that tell the same cover for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import DataError
from pipelines.inputs.column_counter import NumberCells, cells_of
from registry.model_contract import NAMED_KINDS, Column

COLUMNS_AT_ONCE: Final = 255
"""So many are asked together, beside the row itself, so that a wide row takes little memory."""
TEXT_BYTES_AT_ONCE: Final = 8 << 20
"""Of rows with long texts fewer: ONNX Runtime copies each text, for every row that is asked."""
MAX_TEXT_BYTES: Final = 256 << 10
"""The texts of a row that is explained, in UTF-8: they are read as often as the row has columns."""
UsualValue = float | str | None


@dataclass(frozen=True)
class ColumnContribution:
    """What one column's value does to the probability of a class."""

    column: str
    usual: UsualValue
    """What stood in its place, as batches have it; None for a missing value."""
    effect: float
    """The probability of the class with the row's value, less that with the usual one."""
    answer: int
    """The class that would be answered with the usual value."""


@dataclass(frozen=True)
class RowExplanation:
    """What spoke for a class, the largest effects first; `answer` is the class that is answered."""

    index: int
    answer: int
    probability: float
    """Of the explained class."""
    columns: tuple[ColumnContribution, ...]


def explain_row(
    engine: InferenceEngine, row: Batch, columns: Sequence[Column], class_index: int | None = None
) -> RowExplanation:
    """Explains the answer to a single row, or what speaks for another class; asks for one row more than columns.

    A column whose usual value the model gives no probabilities for, as some do for a missing one, is left out. Raises
    DataError for a row whose texts are longer than MAX_TEXT_BYTES together.
    """
    texts = _text_bytes(row, columns)
    if texts > MAX_TEXT_BYTES:
        raise DataError(
            f"the texts of this row have {texts} bytes; a row with more than {MAX_TEXT_BYTES} is not explained, since "
            "it is answered once for each column; shorten them"
        )
    at_once = min(COLUMNS_AT_ONCE, TEXT_BYTES_AT_ONCE // max(1, texts))
    own = engine(row)[0]
    answer = int(own.argmax())
    index = answer if class_index is None else class_index
    found = []
    for start in range(0, len(columns), at_once):
        some = columns[start : start + at_once]
        usual = [usual_value(column) for column in some]
        for column, value, shares in zip(some, usual, _answers(engine, row, some, usual), strict=True):
            if shares is not None:
                effect = float(own[index] - shares[index])
                found.append(ColumnContribution(column.name, value, effect, int(shares.argmax())))
    found.sort(key=lambda each: -abs(each.effect))
    return RowExplanation(index, answer, float(own[index]), tuple(found))


def usual_value(column: Column) -> UsualValue:
    """About the median of a column's numbers, or its commonest category, where the version noted how they were spread.

    The profile has up to 32 bins of about as many rows: this is the middle of the one that the median is in.
    """
    profile = column.profile
    if profile is None or column.kind in ("text", "time"):
        return None
    if column.kind == "category":
        counts = profile.counts[: len(profile.categories)]
        return profile.categories[int(np.argmax(counts))] if any(counts) else None
    counts = profile.counts[: len(profile.cuts) + 1]
    if not any(counts):
        return None
    if column.kind == "yes-no":
        return float(np.argmax(counts))
    cells = cells_of(column)
    assert isinstance(cells, NumberCells)
    middle = int(np.searchsorted(np.cumsum(counts), sum(counts) / 2))
    low, high = (cells.low, *profile.cuts)[middle], (*profile.cuts, cells.high)[middle]
    return _inside(low, high, whole=column.kind == "whole")


def _inside(low: float, high: float, *, whole: bool) -> UsualValue:
    """A value of a bin: its middle, its only end where the other is open, None where both are."""
    if np.isinf(low) or np.isinf(high):
        ends = [end for end in (low, high) if np.isfinite(end)]
        return ends[0] if ends else None
    if high == np.nextafter(low, np.inf):  # a value that is many bins' worth has a bin of its own
        return low
    middle = low / 2 + high / 2
    return float(np.floor(middle)) if whole else middle


def _answers(
    engine: InferenceEngine, row: Batch, columns: Sequence[Column], usual: Sequence[UsualValue]
) -> list[NDArray[np.float32] | None]:
    """The probabilities with each column's usual value; None where the model gives none."""
    try:
        return list(engine(_ablated(row, columns, usual)))
    except DataError:
        if len(columns) == 1:
            return [None]
    return [
        answer
        for column, value in zip(columns, usual, strict=True)
        for answer in _answers(engine, row, [column], [value])
    ]


def _text_bytes(row: Batch, columns: Sequence[Column]) -> int:
    values = (row.array(column.name)[0] for column in columns if column.kind in NAMED_KINDS)
    return sum(len(value.encode("utf-8", "surrogatepass")) for value in values if value is not None)


def _ablated(row: Batch, columns: Sequence[Column], usual: Sequence[UsualValue]) -> Batch:
    """The row once for each column, with the usual value in that column's place."""
    arrays: dict[str, NDArray[Any]] = {name: np.repeat(array, len(columns)) for name, array in row.arrays.items()}
    for place, (column, value) in enumerate(zip(columns, usual, strict=True)):
        is_named = column.kind in NAMED_KINDS
        arrays[column.name][place] = value if is_named or value is not None else np.nan
    return Batch(arrays)
