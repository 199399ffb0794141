"""Finds the most confident errors in a window, with their inputs, for notices and reports."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from mlplatform.feedback.outcomes import NO_TAGS, tag_conditions
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import images, predictions

SCAN_LIMIT: Final = 20_000
"""The newest labelled predictions of the window that are read; the index on version and time finds them."""
CANDIDATES_PER_ERROR: Final = 8
"""Candidates read for each error that is wanted: the same input may have been sent often."""


@dataclass(frozen=True)
class WorstError:
    """One wrong prediction and its input as PNG; `confidence` is what the model gave the wrong class."""

    prediction_id: str
    truth: str
    label: str
    confidence: float
    png: bytes


def worst_errors(
    connection: Connection,
    model_name: str,
    version: int,
    truth_class: str | None,
    start: datetime,
    end: datetime,
    sources: Collection[str],
    limit: int,
    tags: Mapping[str, str] = NO_TAGS,
) -> list[WorstError]:
    """The most confident wrong predictions made in [start, end), each input once, most confident first.

    Only predictions whose truth came from one of the sources, with these tags, and of one true class where it is given.
    """
    newest = (
        select(outcomes)
        .where(
            outcomes.c.model_name == model_name,
            outcomes.c.model_version == version,
            outcomes.c.at >= start,
            outcomes.c.at < end,
            *tag_conditions(tags),
        )
        .order_by(outcomes.c.at.desc())
        .limit(SCAN_LIMIT)
        .subquery()
    )
    wrong = select(newest.c.prediction_id, newest.c.truth, newest.c.label, newest.c.confidence).where(
        newest.c.label != newest.c.truth, newest.c.source.in_(sources)
    )
    if truth_class is not None:
        wrong = wrong.where(newest.c.truth == truth_class)
    worst = (
        wrong.order_by(newest.c.confidence.desc(), newest.c.prediction_id.desc())
        .limit(CANDIDATES_PER_ERROR * limit)
        .subquery()
    )
    query = (
        select(worst, images.c.hash, images.c.png)
        .join(predictions, predictions.c.id == worst.c.prediction_id)
        .join(images, images.c.hash == predictions.c.image_hash)
        .order_by(worst.c.confidence.desc(), worst.c.prediction_id.desc())
    )
    by_input: dict[str, WorstError] = {}
    for row in connection.execute(query):
        error = WorstError(row.prediction_id, row.truth, row.label, row.confidence, bytes(row.png))
        by_input.setdefault(row.hash, error)
    return list(by_input.values())[:limit]
