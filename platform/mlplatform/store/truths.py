"""Which of several labels is the truth of a prediction; it knows no store.

The audit's counts, else the delayed one, else the correction; of one source the latest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Source = Literal["audit", "delayed", "correction"]
SOURCES: tuple[Source, ...] = ("audit", "delayed", "correction")  # in order of trust


@dataclass(frozen=True)
class Current:
    """A current label of a prediction."""

    id: str
    prediction_id: str
    label: str
    source: Source
    at: datetime


def truths(rows: Iterable[Current]) -> dict[str, Current]:
    """The one label per prediction that counts: the most trusted source, then the latest."""
    best: dict[str, Current] = {}
    for row in rows:
        held = best.get(row.prediction_id)
        if held is None or _rank(row) > _rank(held):
            best[row.prediction_id] = row
    return best


def _rank(row: Current) -> tuple[int, datetime, str]:
    return (-SOURCES.index(row.source), row.at, row.id)
