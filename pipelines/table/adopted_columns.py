"""Says what the columns of golden rows are, as a model that was fitted elsewhere reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from pipelines.errors import DataError
from pipelines.exports.class_order import label_text
from pipelines.table.columns import contract_columns
from registry.contract_fields import MAX_NAME_LENGTH
from registry.model_contract import MAX_CATEGORIES, Column


def adopted_columns(
    frame: pd.DataFrame, names: Sequence[str], kinds: Mapping[str, str], required: Collection[str] = ()
) -> tuple[Column, ...]:
    """The columns of a contract: kinds as they are known, else as the rows have them, ranges and categories as there.

    Raises DataError naming a column that the rows do not have. A column of more texts than are watched one by one is
    text.
    """
    if missing := [name for name in names if name not in frame.columns]:
        raise DataError(
            f"the golden rows have no column {missing[0]!r}, which the model reads; they have "
            f"{', '.join(map(repr, frame.columns))}"
        )
    columns: list[str | Column] = []
    for name in names:
        kind = kinds.get(name, "")
        if kind in ("", "category") and _is_free_text(frame[name]):
            kind = "text"
        columns.append(Column(name, kind) if kind else name)  # type: ignore[arg-type]  # Column checks it
    return tuple(
        column if column.name not in required else _required(column) for column in contract_columns(frame, columns)
    )


def truth_texts(target: pd.Series) -> tuple[str, ...]:
    """The classes that are there, as people write them, sorted."""
    return tuple(sorted({label_text(value) for value in target.dropna().tolist()}))


def _required(column: Column) -> Column:
    return Column(**{**vars(column), "optional": False})


def _is_free_text(series: pd.Series) -> bool:
    if not (pd.api.types.is_object_dtype(series.dtype) or pd.api.types.is_string_dtype(series.dtype)):
        return False
    found = {value for value in series.dropna().tolist() if isinstance(value, str)}
    return len(found) > MAX_CATEGORIES or any(len(value) > MAX_NAME_LENGTH for value in found)
