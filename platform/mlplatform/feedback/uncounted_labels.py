"""Audit labels that estimate nothing, because nobody had drawn their answers; it judges no label."""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from mlplatform.store.rollups import ROLLUP_SPANS
from mlplatform.store.tables.feedback import label_count_rollups, outcomes


def find_unsampled(connection: Connection, prediction_ids: Iterable[str]) -> set[str]:
    """Those of the answers whose audit label estimates nothing."""
    mine = outcomes.c.prediction_id.in_(sorted(set(prediction_ids)))
    return set(connection.scalars(select(outcomes.c.prediction_id).where(mine, outcomes.c.weight <= 0)))


def count_unsampled(connection: Connection, model_name: str) -> int:
    """How many such labels a model's answers have."""
    mine = (
        (label_count_rollups.c.model_name == model_name)
        & (label_count_rollups.c.span == max(ROLLUP_SPANS))
        & (label_count_rollups.c.weight <= 0)
    )
    return int(connection.scalar(select(func.sum(label_count_rollups.c.n)).where(mine)) or 0)
