"""Draws bounded samples of the inputs that a version predicted on, the first and the newest, to test for drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, Row, Select, select

from mlplatform.store.tables.predictions import images, predictions


@dataclass(frozen=True)
class InputSample:
    """Distinct inputs among `prediction_count` predictions; `until` is when the last of these was made."""

    prediction_count: int
    until: datetime | None
    pngs: tuple[bytes, ...]


def earliest_sample(
    connection: Connection, model_name: str, version: int, max_predictions: int, size: int
) -> InputSample:
    """Up to `size` inputs of the version's first predictions."""
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
    """Up to `size` inputs of the version's newest predictions between the two moments of `span`, both excluded."""
    after, end = span
    in_span = (predictions.c.at > after, predictions.c.at < end)
    order = (predictions.c.at.desc(), predictions.c.id.desc())
    query = _inputs_query(model_name, version).where(*in_span).order_by(*order).limit(max_predictions)
    return _draw_inputs(connection, connection.execute(query).all(), version, size)


def _inputs_query(model_name: str, version: int) -> Select[tuple[str, datetime]]:
    return select(predictions.c.image_hash, predictions.c.at).where(
        predictions.c.model_name == model_name, predictions.c.model_version == version
    )


def _draw_inputs(
    connection: Connection, rows: Sequence[Row[tuple[str, datetime]]], version: int, size: int
) -> InputSample:
    """Each input once, drawn by a hash of its own: the same predictions always give the same sample."""
    hashes = sorted({row.image_hash for row in rows}, key=lambda key: sha256(f"{version} {key}".encode()).digest())
    drawn = hashes[:size]
    png_by_hash = {
        row.hash: bytes(row.png) for row in connection.execute(select(images).where(images.c.hash.in_(drawn)))
    }
    pngs = tuple(png_by_hash[key] for key in drawn if key in png_by_hash)
    return InputSample(len(rows), max((row.at for row in rows), default=None), pngs)
