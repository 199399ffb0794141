"""Reads the newest predictions of a version, labelled and not, that label audits are chosen from."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import predictions
from pipelines.labels.label_issues import RecordedPrediction
from registry.prediction_task import Classification, Task

MAX_ROWS = 5_000
BATCH_SIZE = 1_000


def unlabelled_predictions(
    connection: Connection, task: Task, classes: Sequence[str], model_name: str, version: int
) -> list[RecordedPrediction]:
    """The newest answers of that version that nobody labelled."""
    free = predictions.c.id.not_in(select(feedback.c.prediction_id))
    rows = _newest_rows(connection, model_name, version, free)
    answers = [task.segment(row.label) for row in rows]
    return [
        RecordedPrediction(row.id, answer, _class_shares(row, task, classes, answer, answer), input_hash=row.image_hash)
        for row, answer in zip(rows, answers, strict=True)
    ]


def labelled_predictions(
    connection: Connection, task: Task, classes: Sequence[str], model_name: str, version: int
) -> list[RecordedPrediction]:
    """The newest labelled answers of that version, each with the label that counts."""
    current = select(feedback.c.prediction_id).where(feedback.c.superseded_by.is_(None))
    rows = _newest_rows(connection, model_name, version, predictions.c.id.in_(current))
    labels = _current_labels(connection, [row.id for row in rows])
    counting = resolve_truths(labels)
    reviewed = {label.prediction_id for label in labels if label.source == "review"}
    return [
        _labelled(row, task, classes, truth, row.id in reviewed)
        for row in rows
        if (truth := counting.get(row.id)) is not None
    ]


def _labelled(
    row: Row[Any], task: Task, classes: Sequence[str], truth: CurrentLabel, reviewed: bool
) -> RecordedPrediction:
    """A labelled answer by what truth and answer are counted as: a wrong text of the true length is another text."""
    of_truth, of_label = task.counted(truth.label, row.label)
    shares = _class_shares(row, task, classes, of_label, of_truth)
    return RecordedPrediction(row.id, of_label, shares, of_truth, truth.id, reviewed, row.image_hash)


def _class_shares(row: Row[Any], task: Task, classes: Sequence[str], answer: str, otherwise: str) -> list[float]:
    """A probability for every class; classes that the version does not know come last, and have none.

    Of a text what its answer is counted as has its confidence, and `otherwise` what is left: at most so likely is the
    label of a wrong one.
    """
    if isinstance(task, Classification):
        return [*row.probabilities, *[0.0] * (len(classes) - len(row.probabilities))]
    shares = dict.fromkeys(classes, 0.0)
    other = task.counted_names[-1] if otherwise == answer else otherwise
    shares |= {other: 1 - row.confidence, answer: row.confidence}
    return list(shares.values())


def _newest_rows(connection: Connection, model_name: str, version: int, among: ColumnElement[bool]) -> list[Row[Any]]:
    query = (
        select(*(predictions.c[name] for name in ("id", "label", "probabilities", "confidence", "image_hash")))
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
