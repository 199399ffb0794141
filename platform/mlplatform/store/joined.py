"""Predictions joined with their labels: the rows monitors judge and retraining learns from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, and_, func, select

from mlplatform.store.schema import feedback, images, predictions
from mlplatform.store.truths import Current, Source, truths

WINDOW_LIMIT = 20_000  # the newest rows of a window; Evidently works on bounded windows only
CHUNK = 500
SUSPECTS = 5_000


@dataclass(frozen=True)
class JoinedRow:
    """One prediction and, where one exists, the label that counts.

    The images of one request share its latency: it stands on the first of them only, being one observation.
    """

    prediction_id: str
    at: datetime
    label: str
    confidence: float
    latency_ms: float | None
    truth: Current | None


@dataclass(frozen=True)
class LabelledImage:
    """One image with the label that counts: what a retraining learns from."""

    image_hash: str
    png: bytes
    label: str
    feedback_id: str
    source: Source


def window(
    connection: Connection,
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    limit: int = WINDOW_LIMIT,
) -> list[JoinedRow]:
    """The newest `limit` predictions of that version in [start, end), oldest first."""
    inside = and_(
        predictions.c.model_name == model_name,
        predictions.c.model_version == version,
        predictions.c.at >= start,
        predictions.c.at < end,
    )
    order = (predictions.c.at.desc(), predictions.c.id.desc())
    newest = select(predictions).where(inside).order_by(*order).limit(limit).subquery()
    labels = _current_labels().join(newest, newest.c.id == feedback.c.prediction_id)
    truth = truths(Current(**row._mapping) for row in connection.execute(labels))
    rows = connection.execute(select(newest).order_by(newest.c.at, newest.c.id))
    found, requests = [], set()
    for row in rows:
        request = (row.at, row.request_id)
        latency_ms = None if request in requests else row.latency_ms
        requests.add(request)
        found.append(JoinedRow(row.id, row.at, row.label, row.confidence, latency_ms, truth.get(row.id)))
    return found


def labelled_images(connection: Connection, model_name: str) -> Iterator[LabelledImage]:
    """Every labelled image of a model once, by the label that counts, in the order of their hashes."""
    labels = (
        _current_labels()
        .join(predictions, predictions.c.id == feedback.c.prediction_id)
        .where(predictions.c.model_name == model_name)
        .add_columns(predictions.c.image_hash)
    )
    hashes: dict[str, str] = {}
    currents: list[Current] = []
    for row in connection.execute(labels):
        hashes[row.prediction_id] = row.image_hash
        currents.append(Current(row.id, row.prediction_id, row.label, row.source, row.at))
    by_image = truths(
        Current(item.id, hashes[item.prediction_id], item.label, item.source, item.at)
        for item in truths(currents).values()
    )
    ordered = sorted(by_image.items())  # by hash: the order of arrival must not change a training
    for first in range(0, len(ordered), CHUNK):
        chunk = ordered[first : first + CHUNK]
        query = select(images.c.hash, images.c.png).where(images.c.hash.in_([key for key, _ in chunk]))
        pngs = {row.hash: bytes(row.png) for row in connection.execute(query)}
        for key, label in chunk:
            yield LabelledImage(key, pngs[key], label.label, label.id, label.source)


def labels_count(connection: Connection, model_name: str) -> int:
    """How many predictions of a model carry a current label."""
    query = (
        select(func.count(func.distinct(feedback.c.prediction_id)))
        .join(predictions, predictions.c.id == feedback.c.prediction_id)
        .where(predictions.c.model_name == model_name, feedback.c.superseded_by.is_(None))
    )
    return connection.scalar(query) or 0


def suspicious(
    connection: Connection, model_name: str, version: int, classes: Sequence[str], label: str, limit: int
) -> list[tuple[str, float]]:
    """Unlabelled answers that may hide an error about one class, most doubtful first: (prediction id, doubt).

    Of an answer that names another class the doubt is the probability that the model gave this class: an image of
    it that was misread. Of an answer that names this class it is what was left for the others. Among the newest
    SUSPECTS of that version.
    """
    columns = (predictions.c.id, predictions.c.label, predictions.c.probabilities)
    query = (
        select(*columns)
        .where(
            predictions.c.model_name == model_name,
            predictions.c.model_version == version,
            predictions.c.id.not_in(select(feedback.c.prediction_id)),
        )
        .order_by(predictions.c.at.desc(), predictions.c.id.desc())
        .limit(SUSPECTS)
    )
    place = list(classes).index(label)
    doubts = [
        (row.id, 1 - row.probabilities[place] if row.label == label else row.probabilities[place])
        for row in connection.execute(query)
    ]
    return sorted(doubts, key=lambda pair: (-pair[1], pair[0]))[:limit]


def _current_labels() -> Select[tuple[str, str, str, str, datetime]]:
    return select(feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at).where(
        feedback.c.superseded_by.is_(None)
    )
