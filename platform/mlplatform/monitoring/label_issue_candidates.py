"""Reads the newest predictions of a version, labelled and not, that label audits are chosen from."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import predictions
from pipelines.labels.label_issues import RecordedPrediction

MAX_ROWS = 5_000
BATCH_SIZE = 1_000


def unlabelled_predictions(connection: Connection, model_name: str, version: int) -> list[RecordedPrediction]:
    """The newest answers of that version that nobody labelled."""
    free = predictions.c.id.not_in(select(feedback.c.prediction_id))
    rows = _newest_rows(connection, model_name, version, free)
    return [RecordedPrediction(row.id, row.label, row.probabilities, input_hash=row.image_hash) for row in rows]


def labelled_predictions(connection: Connection, model_name: str, version: int) -> list[RecordedPrediction]:
    """The newest labelled answers of that version, each with the label that counts."""
    current = select(feedback.c.prediction_id).where(feedback.c.superseded_by.is_(None))
    rows = _newest_rows(connection, model_name, version, predictions.c.id.in_(current))
    labels = _current_labels(connection, [row.id for row in rows])
    counting = resolve_truths(labels)
    reviewed = {label.prediction_id for label in labels if label.source == "review"}
    return [
        RecordedPrediction(
            row.id, row.label, row.probabilities, truth.label, truth.id, row.id in reviewed, row.image_hash
        )
        for row in rows
        if (truth := counting.get(row.id)) is not None
    ]


def _newest_rows(
    connection: Connection, model_name: str, version: int, among: ColumnElement[bool]
) -> list[Row[tuple[str, str, Any, str]]]:
    query = (
        select(predictions.c.id, predictions.c.label, predictions.c.probabilities, predictions.c.image_hash)
        .where(predictions.c.model_name == model_name, predictions.c.model_version == version, among)
        .order_by(predictions.c.at.desc(), predictions.c.id.desc())
        .limit(MAX_ROWS)
    )
    return list(connection.execute(query))


def _current_labels(connection: Connection, ids: list[str]) -> list[CurrentLabel]:
    labels: list[CurrentLabel] = []
    columns = (feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
    for first in range(0, len(ids), BATCH_SIZE):
        chunk = feedback.c.prediction_id.in_(ids[first : first + BATCH_SIZE])
        query = select(*columns).where(chunk, feedback.c.superseded_by.is_(None))
        labels += [CurrentLabel(**row._mapping) for row in connection.execute(query)]
    return labels
