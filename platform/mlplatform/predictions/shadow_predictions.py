"""Answers given beside those that were served, by prediction id: kept apart, so that no monitor counts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from mlplatform.store.database import insert_new
from mlplatform.store.tables.core import predictions
from mlplatform.store.tables.monitoring import judged
from mlplatform.store.tables.rollout import shadow_answers, trials


@dataclass(frozen=True)
class ShadowAnswer:
    """What a version would have answered to the picture of a prediction; `latency_ms` is the time of its inference."""

    prediction_id: str
    model_version: int
    trial_id: str
    at: datetime
    label: str
    probabilities: list[float]
    confidence: float
    latency_ms: float


@dataclass(frozen=True)
class Pair:
    """A labelled picture that both versions of a trial have answered: the one that served and the one beside it."""

    seq: int
    served: int
    label: str
    shadow_label: str
    truth: str
    share: float


def write(connection: Connection, rows: Sequence[ShadowAnswer]) -> int:
    """Keep shadow answers; returns how many were new."""
    return insert_new(connection, shadow_answers, [dict(vars(row)) for row in rows])


def of_prediction(connection: Connection, prediction_id: str) -> list[ShadowAnswer]:
    """What other versions would have answered to the same picture."""
    query = select(shadow_answers).where(shadow_answers.c.prediction_id == prediction_id)
    rows = connection.execute(query.order_by(shadow_answers.c.model_version))
    return [ShadowAnswer(**row._mapping) for row in rows]


def counted(connection: Connection, trial_id: str) -> tuple[int, int]:
    """How many shadow answers a trial has, and how many of them agree with what was served."""
    query = (
        select(func.count(), func.count().filter(shadow_answers.c.label == predictions.c.label))
        .join(predictions, predictions.c.id == shadow_answers.c.prediction_id)
        .where(shadow_answers.c.trial_id == trial_id)
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def pairs(
    connection: Connection, trial_id: str, cursor: int, sources: Sequence[str], limit: int
) -> tuple[list[Pair], int]:
    """The next labelled pictures of a trial after a number, each picture the first time only, and the last number read.

    A picture that was sent again tells nothing new about either version.
    """
    joined = shadow_answers.join(judged, judged.c.prediction_id == shadow_answers.c.prediction_id).join(
        predictions, predictions.c.id == judged.c.prediction_id
    )
    estimating = (judged.c.source.in_(sources), judged.c.weight > 0, shadow_answers.c.trial_id == trial_id)
    columns = (judged.c.seq, judged.c.model_version.label("served"), judged.c.label, judged.c.truth, judged.c.share)
    query = (
        select(*columns, judged.c.seen, shadow_answers.c.label.label("shadow_label"), predictions.c.image_hash)
        .select_from(joined)
        .where(*estimating, judged.c.seq > cursor)
        .order_by(judged.c.seq)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    if not rows:
        return [], cursor
    hashes = {row.image_hash for row in rows}
    earlier = select(predictions.c.image_hash).select_from(joined)
    known = set(
        connection.scalars(
            earlier.where(*estimating, judged.c.seq <= cursor, predictions.c.image_hash.in_(sorted(hashes)))
        )
    )
    found = []
    for row in rows:
        if row.image_hash not in known and not set(row.seen.split()) & set(sources):
            found.append(Pair(row.seq, row.served, row.label, row.shadow_label, row.truth, row.share))
        known.add(row.image_hash)
    return found, rows[-1].seq


def forget(connection: Connection, before: datetime, model_name: str | None = None) -> int:
    """Remove shadow answers given before a moment, of one model's trials or of all; returns how many."""
    old = delete(shadow_answers).where(shadow_answers.c.at < before)
    if model_name is not None:
        old = old.where(shadow_answers.c.trial_id.in_(select(trials.c.id).where(trials.c.model_name == model_name)))
    return connection.execute(old).rowcount
