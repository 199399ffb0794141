"""Predictions that a challenger made in the shadow of served ones, kept apart so that no monitor counts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, String, cast, delete, exists, func, literal, or_, select

from mlplatform.predictions.prediction_records import StoredInput
from mlplatform.store.database import insert_new
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import inputs, predictions, review_samples, shadow_prediction_rows
from mlplatform.store.tables.promotion import probations, rollouts

PROBATION_TRIAL: Final = "probation-"
"""What the name of a probation's trial begins with; the number of its promotion follows."""
DIFFERING_SCAN_LIMIT: Final = 5_000
"""The newest shadow predictions that are read for those that differ."""


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


def count_compared(connection: Connection, trial_id: str, before: datetime) -> tuple[int, int]:
    """How many predictions made before a moment another version was asked about, and of how many it says otherwise."""
    query = (
        select(func.count(), func.count().filter(shadow_prediction_rows.c.label != predictions.c.label))
        .join(predictions, predictions.c.id == shadow_prediction_rows.c.prediction_id)
        .where(shadow_prediction_rows.c.trial_id == trial_id, predictions.c.at < before)
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def count_differing(connection: Connection, trial_id: str, start: datetime, end: datetime) -> int:
    """Of how many predictions asked about in [start, end) the other version says something else."""
    query = (
        select(func.count())
        .select_from(shadow_prediction_rows)
        .join(predictions, predictions.c.id == shadow_prediction_rows.c.prediction_id)
        .where(
            shadow_prediction_rows.c.trial_id == trial_id,
            shadow_prediction_rows.c.at >= start,
            shadow_prediction_rows.c.at < end,
            shadow_prediction_rows.c.label != predictions.c.label,
        )
    )
    return int(connection.scalar(query) or 0)


def unasked(
    connection: Connection,
    versions: tuple[str, int, int],
    window: tuple[datetime, datetime],
    part: float,
    limit: int,
) -> list[tuple[PredictionRecord, StoredInput]]:
    """The oldest predictions of a window that another version was not asked about yet, with their inputs as kept.

    `versions` are the model, the version that predicted and the other one. The hash of an input says whether it belongs
    to the part that is asked about.
    """
    model_name, version, other = versions
    is_asked = exists().where(
        shadow_prediction_rows.c.prediction_id == predictions.c.id, shadow_prediction_rows.c.model_version == other
    )
    query = (
        select(predictions, inputs.c.content, inputs.c.form)
        .join(inputs, inputs.c.hash == predictions.c.image_hash)
        .where(
            predictions.c.model_name == model_name,
            predictions.c.model_version == version,
            predictions.c.at >= window[0],
            predictions.c.at < window[1],
            ~is_asked,
        )
        .order_by(predictions.c.at, predictions.c.id)
        .limit(limit)
    )
    if part < 1:
        query = query.where(predictions.c.image_hash < f"{int(part * 16**12):012x}")
    found = []
    for row in connection.execute(query).mappings():
        values = dict(row)
        kept = StoredInput(values.pop("form"), bytes(values.pop("content")))
        found.append((PredictionRecord(**values), kept))
    return found


def differing_since(connection: Connection, trial_id: str, since: datetime) -> list[PredictionRecord]:
    """The predictions that another version was asked about since a moment and says otherwise of."""
    query = (
        select(predictions)
        .join(shadow_prediction_rows, shadow_prediction_rows.c.prediction_id == predictions.c.id)
        .where(
            shadow_prediction_rows.c.trial_id == trial_id,
            shadow_prediction_rows.c.at >= since,
            shadow_prediction_rows.c.label != predictions.c.label,
        )
        .order_by(predictions.c.at, predictions.c.id)
    )
    return [PredictionRecord(**row._mapping) for row in connection.execute(query)]


def differing_unlabelled(connection: Connection, model_name: str, limit: int) -> list[str]:
    """Predictions that another version says otherwise of and that nobody labelled or drew, the newest first.

    Only the newest shadow predictions of the model are looked at.
    """
    is_of_model: ColumnElement[bool] = predictions.c.model_name == model_name
    if connection.dialect.name == "sqlite":  # which would read all predictions of the model rather than the newest
        is_of_model = func.likely(is_of_model)
    newest = (
        select(shadow_prediction_rows.c.prediction_id, shadow_prediction_rows.c.label, shadow_prediction_rows.c.at)
        .join(predictions, predictions.c.id == shadow_prediction_rows.c.prediction_id)
        .where(is_of_model)
        .order_by(shadow_prediction_rows.c.at.desc())
        .limit(DIFFERING_SCAN_LIMIT)
        .subquery()
    )
    query = (
        select(predictions.c.id, func.max(newest.c.at).label("asked_at"))
        .join(newest, newest.c.prediction_id == predictions.c.id)
        .where(
            predictions.c.label != newest.c.label,
            ~exists().where(feedback.c.prediction_id == predictions.c.id),
            ~exists().where(review_samples.c.prediction_id == predictions.c.id),
        )
        .group_by(predictions.c.id)
        .order_by(func.max(newest.c.at).desc(), predictions.c.id)
        .limit(limit)
    )
    return [row.id for row in connection.execute(query)]


def delete_before(connection: Connection, before: datetime, model_name: str | None = None) -> int:
    """Remove what other versions said before a moment, of one model's predictions or of all; returns how many."""
    statement = delete(shadow_prediction_rows).where(shadow_prediction_rows.c.at < before)
    if model_name is not None:
        of_rollouts = select(rollouts.c.id).where(rollouts.c.model_name == model_name)
        name = literal(PROBATION_TRIAL) + cast(probations.c.promotion_seq, String)
        of_probations = select(name).where(probations.c.model_name == model_name)
        trial = shadow_prediction_rows.c.trial_id
        statement = statement.where(or_(trial.in_(of_rollouts), trial.in_(of_probations)))
    return connection.execute(statement).rowcount
