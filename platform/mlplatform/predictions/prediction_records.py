"""Prediction rows and their images: written once, read by id; it knows no model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from mlplatform.audit import prediction_attestation
from mlplatform.errors import NotFoundError
from mlplatform.predictions import prediction_counts, review_samples
from mlplatform.store.bulk import insert_many_returning
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import images, predictions


@dataclass(frozen=True)
class PredictionWithInput:
    """A prediction together with the image it was made for, and the class of host that gave it."""

    prediction: PredictionRecord
    png: bytes
    host_class: str = ""


def insert_predictions(connection: Connection, rows: Sequence[PredictionWithInput], instance: str = "") -> int:
    """Write rows and images, and count them for the server; returns how many were new.

    A prediction id seen before changes nothing.
    """
    pictures = {row.prediction.image_hash: row for row in rows}
    ordered = [pictures[key] for key in sorted(pictures)]  # one order everywhere: no deadlock between writers
    insert_many_returning(
        connection,
        images,
        [{"hash": row.prediction.image_hash, "png": row.png, "at": row.prediction.at} for row in ordered],
        images.c.hash,
    )
    fresh = insert_many_returning(connection, predictions, [vars(row.prediction) for row in rows], predictions.c.id)
    counted = {row.prediction.id: (row.prediction, row.host_class) for row in rows if row.prediction.id in fresh}
    prediction_counts.count_predictions(connection, instance, list(counted.values()))
    review_samples.draw_samples(connection, [row for row, _ in counted.values()])
    prediction_attestation.append_batch(connection, instance, [row for row, _ in counted.values()])
    return len(fresh)


def find(connection: Connection, prediction_id: str) -> PredictionRecord:
    """The prediction of that id; raises NotFoundError."""
    row = None
    if "\0" not in prediction_id:  # which PostgreSQL refuses as text
        row = connection.execute(select(predictions).where(predictions.c.id == prediction_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"prediction {prediction_id!r} is not known; ids come from POST /v1/predict")
    return PredictionRecord(**row._mapping)


def existing_ids(connection: Connection, ids: Iterable[str], *, lock: bool = False) -> set[str]:
    """Those of the ids that are recorded; with `lock`, held until the transaction ends."""
    wanted = sorted({key for key in ids if "\0" not in key})
    query = select(predictions.c.id).where(predictions.c.id.in_(wanted))
    if lock:
        query = query.order_by(predictions.c.id).with_for_update(key_share=True)  # one order: no deadlock
    return set(connection.scalars(query))


@dataclass(frozen=True)
class PredictionOrigin:
    """A recorded prediction: whose answer it is, and when it was given."""

    model_name: str
    at: datetime


def prediction_origins(
    connection: Connection, ids: Iterable[str], *, lock: bool = False
) -> dict[str, PredictionOrigin]:
    """Those of the ids that are recorded; with `lock`, held until the transaction ends."""
    wanted = sorted({key for key in ids if "\0" not in key})
    query = select(predictions.c.id, predictions.c.model_name, predictions.c.at).where(predictions.c.id.in_(wanted))
    if lock:
        query = query.order_by(predictions.c.id).with_for_update(key_share=True)  # one order: no deadlock
    return {row.id: PredictionOrigin(row.model_name, row.at) for row in connection.execute(query)}


def prediction_times(connection: Connection, ids: Iterable[str]) -> dict[str, datetime]:
    """When each of these was answered."""
    query = select(predictions.c.id, predictions.c.at).where(predictions.c.id.in_(sorted(ids)))
    return {row.id: row.at for row in connection.execute(query)}


def load_image(connection: Connection, image_hash: str) -> bytes:
    """The PNG with that content hash; raises NotFoundError."""
    png = connection.scalar(select(images.c.png).where(images.c.hash == image_hash))
    if png is None:
        raise NotFoundError(f"image {image_hash!r} is not kept")
    return bytes(png)


def count_rows(connection: Connection) -> dict[str, int]:
    """How many predictions, images and current labels the store holds."""
    current = select(func.count()).select_from(feedback).where(feedback.c.superseded_by.is_(None))
    return {
        "predictions": connection.scalar(select(func.count()).select_from(predictions)) or 0,
        "images": connection.scalar(select(func.count()).select_from(images)) or 0,
        "labels": connection.scalar(current) or 0,
    }
