"""Rows of a table as the DataFrame that a model is fitted on, with exactly the values that its graph is fed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.engines.graph_check import is_text
from registry.model_contract import Column

MISSING_TEXT: Final = ""
"""What a graph is fed for a missing category or text."""


def model_frame(batch: Batch, columns: Sequence[Column]) -> pd.DataFrame:
    """One column each: float64 with NaN for missing numbers, texts with "" for missing ones.

    Numbers are rounded to float32 first, as a graph takes them: what is fitted is what is served.
    """
    return pd.DataFrame({column.name: _fed(batch.array(column.name), column) for column in columns})


def _fed(values: NDArray[Any], column: Column) -> NDArray[Any]:
    if not is_text(column):
        return values.astype(np.float32).astype(np.float64)
    return np.array([MISSING_TEXT if value is None else value for value in values], dtype=object)
