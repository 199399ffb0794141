"""Counts what the store holds of a model for people, at a cost that does not grow with it."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, func, select

from mlplatform.store.rollups import DAY_MINUTES
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import inputs, prediction_count_rollups

COUNT_LIMIT: Final = 10_000
"""Rows are counted one by one up to so many; a table that holds more is said to hold as many."""


def store_totals(connection: Connection, model_name: str) -> dict[str, int]:
    """The answers a model has recorded, by its tallies; pictures and current labels of all models, up to a limit."""
    return {
        "predictions": _count_predictions(connection, model_name),
        "images": _count_up_to_limit(connection, inputs),
        "labels": _count_up_to_limit(connection, feedback, current=True),
    }


def format_totals(totals: Mapping[str, int]) -> list[str]:
    """The totals for people: those that were not counted to their end as "10,000+ images"."""
    return [
        f"{number:,}{'+' if noun != 'predictions' and number >= COUNT_LIMIT else ''} {noun}"
        for noun, number in totals.items()
    ]


def _count_predictions(connection: Connection, model_name: str) -> int:
    """Summed by version, each by its days: an index leads from one version to the next."""
    total, version = 0, -1
    while True:
        mine = prediction_count_rollups.c.model_name == model_name
        newer = select(func.min(prediction_count_rollups.c.model_version)).where(
            mine, prediction_count_rollups.c.model_version > version
        )
        found: int | None = connection.scalar(newer)
        if found is None:
            return total
        version = found
        days = (
            mine,
            prediction_count_rollups.c.model_version == version,
            prediction_count_rollups.c.span == DAY_MINUTES,
        )
        total += connection.scalar(select(func.sum(prediction_count_rollups.c.answers)).where(*days)) or 0


def _count_up_to_limit(connection: Connection, table: Table, *, current: bool = False) -> int:
    rows = select(next(iter(table.primary_key))).limit(COUNT_LIMIT)
    if current:
        rows = rows.where(feedback.c.superseded_by.is_(None))
    return connection.scalar(select(func.count()).select_from(rows.subquery())) or 0
