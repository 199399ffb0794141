"""Bounded samples of the pictures a version was shown, early and late; it knows no model and compares nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, Row, Select, select

from mlplatform.store.tables.predictions import images, predictions


@dataclass(frozen=True)
class InputSample:
    """Different pictures among `answers` answers; `until` is when the last of these was given."""

    prediction_count: int
    until: datetime | None
    pngs: tuple[bytes, ...]


def earliest_sample(
    connection: Connection, model_name: str, version: int, max_predictions: int, size: int
) -> InputSample:
    """Up to `size` pictures of the version's first answers."""
    query = _inputs_query(model_name, version).order_by(predictions.c.at, predictions.c.id).limit(max_predictions)
    return _draw_inputs(connection, connection.execute(query).all(), version, size)


def latest_sample(
    connection: Connection,
    model_name: str,
    version: int,
    span: tuple[datetime, datetime],
    max_predictions: int,
    size: int,
) -> InputSample:
    """Up to `size` pictures of the version's newest answers after the first moment and before the second."""
    after, end = span
    inside = (predictions.c.at > after, predictions.c.at < end)
    order = (predictions.c.at.desc(), predictions.c.id.desc())
    query = _inputs_query(model_name, version).where(*inside).order_by(*order).limit(max_predictions)
    return _draw_inputs(connection, connection.execute(query).all(), version, size)


def _inputs_query(model_name: str, version: int) -> Select[tuple[str, datetime]]:
    return select(predictions.c.image_hash, predictions.c.at).where(
        predictions.c.model_name == model_name, predictions.c.model_version == version
    )


def _draw_inputs(
    connection: Connection, rows: Sequence[Row[tuple[str, datetime]]], version: int, size: int
) -> InputSample:
    """Each picture once, drawn by a hash of its own: the same answers always give the same sample."""
    hashes = sorted({row.image_hash for row in rows}, key=lambda key: sha256(f"{version} {key}".encode()).digest())
    wanted = hashes[:size]
    kept = {row.hash: bytes(row.png) for row in connection.execute(select(images).where(images.c.hash.in_(wanted)))}
    pngs = tuple(kept[key] for key in wanted if key in kept)
    return InputSample(len(rows), max((row.at for row in rows), default=None), pngs)
