"""How much a model's store holds, at a cost that does not grow with it; nobody decides by these numbers."""

from typing import Final

from sqlalchemy import Connection, Table, func, select

from mlplatform.store.rollups import DAY
from mlplatform.store.tables.core import feedback, images
from mlplatform.store.tables.monitoring import tally_sums

MOST_COUNTED: Final = 10_000
"""Rows are counted one by one up to so many; a table that holds more is said to hold as many."""


def totals(connection: Connection, model_name: str) -> dict[str, int]:
    """The answers a model has recorded, by its tallies; pictures and current labels of all models, up to a limit."""
    return {
        "predictions": _recorded(connection, model_name),
        "images": _up_to(connection, images),
        "labels": _up_to(connection, feedback, current=True),
    }


def in_words(counted: dict[str, int]) -> list[str]:
    """The totals for people: those that were not counted to their end as "10,000+ images"."""
    return [
        f"{number:,}{'+' if noun != 'predictions' and number >= MOST_COUNTED else ''} {noun}"
        for noun, number in counted.items()
    ]


def _recorded(connection: Connection, model_name: str) -> int:
    """Summed by version, each by its days: an index leads from one version to the next."""
    total, version = 0, -1
    while True:
        mine = tally_sums.c.model_name == model_name
        newer = select(func.min(tally_sums.c.model_version)).where(mine, tally_sums.c.model_version > version)
        found: int | None = connection.scalar(newer)
        if found is None:
            return total
        version = found
        days = (mine, tally_sums.c.model_version == version, tally_sums.c.span == DAY)
        total += connection.scalar(select(func.sum(tally_sums.c.answers)).where(*days)) or 0


def _up_to(connection: Connection, table: Table, *, current: bool = False) -> int:
    rows = select(next(iter(table.primary_key))).limit(MOST_COUNTED)
    if current:
        rows = rows.where(feedback.c.superseded_by.is_(None))
    return connection.scalar(select(func.count()).select_from(rows.subquery())) or 0
