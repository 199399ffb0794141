"""Reads predictions joined with the label that counts: the rows that monitors evaluate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Select, and_, select

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import predictions

WINDOW_LIMIT: Final = 20_000
"""The newest rows of a window that are read; Evidently works on bounded windows only."""


@dataclass(frozen=True)
class LabelledPrediction:
    """One prediction and, where one exists, the label that counts.

    The inputs of one request share its latency: the first of them has it, for it is one observation.
    """

    prediction_id: str
    at: datetime
    label: str
    confidence: float
    latency_ms: float | None
    truth: CurrentLabel | None
    tags: Mapping[str, str] = field(default_factory=dict)


def load_labelled_predictions(
    connection: Connection,
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    limit: int = WINDOW_LIMIT,
) -> list[LabelledPrediction]:
    """The newest `limit` predictions of that version in [start, end), oldest first."""
    in_window = and_(
        predictions.c.model_name == model_name,
        predictions.c.model_version == version,
        predictions.c.at >= start,
        predictions.c.at < end,
    )
    order = (predictions.c.at.desc(), predictions.c.id.desc())
    newest = select(predictions).where(in_window).order_by(*order).limit(limit).subquery()
    labels = _current_labels().join(newest, newest.c.id == feedback.c.prediction_id)
    truth = resolve_truths(CurrentLabel(**row._mapping) for row in connection.execute(labels))
    rows = connection.execute(select(newest).order_by(newest.c.at, newest.c.id))
    labelled, requests = [], set()
    for row in rows:
        request = (row.at, row.request_id)
        latency_ms = None if request in requests else row.latency_ms
        requests.add(request)
        tags = {**(row.tags or {}), "client": row.client_id}
        labelled.append(
            LabelledPrediction(row.id, row.at, row.label, row.confidence, latency_ms, truth.get(row.id), tags)
        )
    return labelled


def _current_labels() -> Select[tuple[str, str, str, str, datetime]]:
    return select(feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at).where(
        feedback.c.superseded_by.is_(None)
    )
