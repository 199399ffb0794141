"""Audit labels that estimate nothing, because nobody had drawn their answers; it judges no label."""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from mlplatform.store.rollups import ROLLED
from mlplatform.store.tables.monitoring import judged, label_sums


def among(connection: Connection, prediction_ids: Iterable[str]) -> set[str]:
    """Those of the answers whose audit label estimates nothing."""
    mine = judged.c.prediction_id.in_(sorted(set(prediction_ids)))
    return set(connection.scalars(select(judged.c.prediction_id).where(mine, judged.c.weight <= 0)))


def count(connection: Connection, model_name: str) -> int:
    """How many such labels a model's answers have."""
    mine = (label_sums.c.model_name == model_name) & (label_sums.c.span == max(ROLLED)) & (label_sums.c.weight <= 0)
    return int(connection.scalar(select(func.sum(label_sums.c.n)).where(mine)) or 0)
