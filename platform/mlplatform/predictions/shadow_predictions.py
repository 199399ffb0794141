"""Predictions that a challenger made in the shadow of served ones, kept apart so that no monitor counts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from mlplatform.store.database import insert_new
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import predictions, shadow_prediction_rows
from mlplatform.store.tables.promotion import rollouts


@dataclass(frozen=True)
class ShadowPrediction:
    """What a version would have predicted on the input of a served prediction; `latency_ms` is its inference time."""

    prediction_id: str
    model_version: int
    trial_id: str
    at: datetime
    label: str
    probabilities: list[float]
    confidence: float
    latency_ms: float


@dataclass(frozen=True)
class ShadowPair:
    """A labelled input that both versions of a rollout predicted on: the one that served and the one in its shadow."""

    seq: int
    served_version: int
    label: str
    shadow_label: str
    truth: str
    share: float


def insert_shadow_predictions(connection: Connection, rows: Sequence[ShadowPrediction]) -> int:
    """Write shadow predictions; returns how many were new."""
    return insert_new(connection, shadow_prediction_rows, [dict(vars(row)) for row in rows])


def list_by_prediction(connection: Connection, prediction_id: str) -> list[ShadowPrediction]:
    """What other versions would have predicted on the same input."""
    query = select(shadow_prediction_rows).where(shadow_prediction_rows.c.prediction_id == prediction_id)
    rows = connection.execute(query.order_by(shadow_prediction_rows.c.model_version))
    return [ShadowPrediction(**row._mapping) for row in rows]


def count_agreement(connection: Connection, trial_id: str) -> tuple[int, int]:
    """How many shadow predictions a rollout has, and how many of them agree with what was served."""
    query = (
        select(func.count(), func.count().filter(shadow_prediction_rows.c.label == predictions.c.label))
        .join(predictions, predictions.c.id == shadow_prediction_rows.c.prediction_id)
        .where(shadow_prediction_rows.c.trial_id == trial_id)
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def labelled_pairs(
    connection: Connection, trial_id: str, cursor: int, sources: Sequence[str], limit: int
) -> tuple[list[ShadowPair], int]:
    """The next labelled inputs of a rollout after a sequence number, each once only, and the last number read.

    An input that was sent again says nothing new about either version.
    """
    joined = shadow_prediction_rows.join(
        outcomes, outcomes.c.prediction_id == shadow_prediction_rows.c.prediction_id
    ).join(predictions, predictions.c.id == outcomes.c.prediction_id)
    estimating = (outcomes.c.source.in_(sources), outcomes.c.weight > 0, shadow_prediction_rows.c.trial_id == trial_id)
    columns = (
        outcomes.c.seq,
        outcomes.c.model_version.label("served"),
        outcomes.c.label,
        outcomes.c.truth,
        outcomes.c.share,
    )
    query = (
        select(
            *columns, outcomes.c.seen, shadow_prediction_rows.c.label.label("shadow_label"), predictions.c.image_hash
        )
        .select_from(joined)
        .where(*estimating, outcomes.c.seq > cursor)
        .order_by(outcomes.c.seq)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    if not rows:
        return [], cursor
    hashes = {row.image_hash for row in rows}
    earlier = select(predictions.c.image_hash).select_from(joined)
    hashes_before = set(
        connection.scalars(
            earlier.where(*estimating, outcomes.c.seq <= cursor, predictions.c.image_hash.in_(sorted(hashes)))
        )
    )
    pairs = []
    for row in rows:
        if row.image_hash not in hashes_before and not set(row.seen.split()) & set(sources):
            pairs.append(ShadowPair(row.seq, row.served, row.label, row.shadow_label, row.truth, row.share))
        hashes_before.add(row.image_hash)
    return pairs, rows[-1].seq


def delete_before(connection: Connection, before: datetime, model_name: str | None = None) -> int:
    """Remove shadow predictions made before a moment, of one model's rollouts or of all; returns how many."""
    statement = delete(shadow_prediction_rows).where(shadow_prediction_rows.c.at < before)
    if model_name is not None:
        statement = statement.where(
            shadow_prediction_rows.c.trial_id.in_(select(rollouts.c.id).where(rollouts.c.model_name == model_name))
        )
    return connection.execute(statement).rowcount
