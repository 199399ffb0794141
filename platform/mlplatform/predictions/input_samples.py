"""Draws bounded samples of the inputs that a version predicted on in stretches of time, to test for drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from mlplatform.store.tables.predictions import inputs, predictions

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class SampledInput:
    """An input as it is kept, with client, request and tags of the first prediction drawn that it was sent for."""

    content: bytes
    client_id: str
    request: str
    tags: Mapping[str, str]


def sample_inputs(
    connection: Connection, model_name: str, version: int, spans: Sequence[Span], per_span: int, size: int
) -> tuple[SampledInput, ...]:
    """Up to `size` inputs among the first `per_span` predictions of each stretch of time, each input once.

    They are drawn by a hash of their own: the same predictions always give the same sample.
    """
    first_by_hash: dict[str, Row[Any]] = {}
    columns = ("image_hash", "at", "client_id", "request_id", "tags")
    for span in spans:
        for row in connection.execute(_first_in_span(model_name, version, span, per_span, *columns)):
            first_by_hash.setdefault(row.image_hash, row)
    drawn = sorted(first_by_hash, key=lambda key: sha256(f"{version} {key}".encode()).digest())[:size]
    query = select(inputs.c.hash, inputs.c.content).where(inputs.c.hash.in_(drawn))
    kept = {row.hash: bytes(row.content) for row in connection.execute(query)}
    return tuple(_sampled(kept[key], first_by_hash[key]) for key in drawn if key in kept)


def sampled_ids(
    connection: Connection, model_name: str, version: int, spans: Sequence[Span], per_span: int
) -> set[str]:
    """The ids of the predictions that `sample_inputs` draws from."""
    queries = (_first_in_span(model_name, version, span, per_span, "id") for span in spans)
    return {prediction_id for query in queries for prediction_id in connection.scalars(query)}


def _first_in_span(model_name: str, version: int, span: Span, limit: int, *names: str) -> Select[Any]:
    """These columns of the first predictions of a stretch of time."""
    start, end = span
    return (
        select(*(predictions.c[name] for name in names))
        .where(
            predictions.c.model_name == model_name,
            predictions.c.model_version == version,
            predictions.c.at >= start,
            predictions.c.at < end,
        )
        .order_by(predictions.c.at, predictions.c.id)
        .limit(limit)
    )


def _sampled(content: bytes, row: Row[Any]) -> SampledInput:
    # Predictions of one request share their moment, also where retention has removed its id.
    return SampledInput(content, row.client_id, f"{row.at.isoformat()} {row.request_id}", row.tags or {})
