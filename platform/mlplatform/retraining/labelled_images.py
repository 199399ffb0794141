"""Every label of every labelled image of a model, as a retraining gets to see them; it settles nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.store.tables.core import feedback, images, predictions

BATCH_SIZE = 500


@dataclass(frozen=True)
class InputLabel:
    """One current label: what it says of which image, who gave it, and what the client said of the picture."""

    feedback_id: str
    prediction_id: str
    image_hash: str
    label: str
    source: LabelSource
    reviewer: str
    client_id: str
    tags: Mapping[str, str]
    at: datetime
    answered_at: datetime
    feed: str | None
    """By which it came: the name of an API key, else of the reviewer; None where it was taken before that was kept."""


def load_input_labels(connection: Connection, model_name: str) -> list[InputLabel]:
    """Every current label of a model's answers, in the order of image and label: arrival must not change a training."""
    query = (
        select(
            feedback.c.id.label("feedback_id"),
            feedback.c.prediction_id,
            predictions.c.image_hash,
            feedback.c.label,
            feedback.c.source,
            feedback.c.reviewer,
            predictions.c.client_id,
            predictions.c.tags,
            feedback.c.at,
            predictions.c.at.label("answered_at"),
            feedback.c.feed,
        )
        .join(predictions, predictions.c.id == feedback.c.prediction_id)
        .where(predictions.c.model_name == model_name, feedback.c.superseded_by.is_(None))
    )
    found = [InputLabel(**{**row, "tags": row["tags"] or {}}) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda each: (each.image_hash, each.feedback_id))  # not by a database's collation


def iter_inputs(connection: Connection, hashes: list[str]) -> Iterator[tuple[str, bytes]]:
    """The PNG of each hash."""
    for first in range(0, len(hashes), BATCH_SIZE):
        query = select(images.c.hash, images.c.png).where(images.c.hash.in_(hashes[first : first + BATCH_SIZE]))
        for row in connection.execute(query):
            yield row.hash, bytes(row.png)
