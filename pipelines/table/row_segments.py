"""Names the segment of each row by one column of a DataFrame, for comparisons of fairness."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from pipelines.errors import DataError

MAX_SEGMENTS: Final = 30
"""So many of the commonest values have a segment of their own."""
QUARTILES: Final = (0.25, 0.5, 0.75)
OTHER, MISSING = "other", "missing"


def row_segments(series: pd.Series) -> tuple[str, ...]:
    """The segment of each row: a value of its own, of many numbers the quarter they lie in; missing is a segment.

    Raises DataError for a column of times.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise DataError(f"the column {series.name!r} is a time, by which no people are told apart; name another one")
    is_numeric = pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype)
    if is_numeric and series.nunique() > MAX_SEGMENTS:
        return _quarters(series)
    whole = pd.api.types.is_float_dtype(series.dtype)  # whole numbers beside missing ones: 7.0 is 7
    missing = series.isna().to_list()
    names = [
        MISSING if absent else str(int(value)) if whole and float(value).is_integer() else str(value).strip() or MISSING
        for value, absent in zip(series.astype(object).to_list(), missing, strict=True)
    ]
    counts = Counter(names)
    common = set(sorted(counts, key=lambda name: (-counts[name], name))[:MAX_SEGMENTS])
    return tuple(name if name in common else OTHER for name in names)


def _quarters(series: pd.Series) -> tuple[str, ...]:
    """Whether each number is in the lowest quarter of all rows, the next, and so on, with its limits."""
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    cuts = np.unique(np.nanquantile(values, QUARTILES))
    names = [f"below {cuts[0]:.6g}"]
    names += [f"{low:.6g} to below {high:.6g}" for low, high in pairwise(cuts)]
    names.append(f"{cuts[-1]:.6g} or more")
    places = np.searchsorted(cuts, values, side="right")
    return tuple(
        MISSING if np.isnan(value) else names[place] for value, place in zip(values, places.tolist(), strict=True)
    )
