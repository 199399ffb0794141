"""The gravest misreadings in a window, with their pictures; it reads at most SCANNED rows and judges nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from mlplatform.feedback.outcomes import NO_TAGS, tag_conditions
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import images, predictions

SCAN_LIMIT = 20_000  # the newest labelled answers of the window; the index on version and time finds them
CANDIDATES_PER_ERROR = 8  # candidates per wanted error: the same picture may have been sent often


@dataclass(frozen=True)
class WorstError:
    """One wrong answer and its picture as PNG; confidence is what the model gave the wrong class."""

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
    """The most confident wrong answers given in [start, end), each picture once, most confident first.

    Only answers whose truth came from one of the sources, with these tags, and of one true class where it is given.
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
    gravest = (
        wrong.order_by(newest.c.confidence.desc(), newest.c.prediction_id.desc())
        .limit(CANDIDATES_PER_ERROR * limit)
        .subquery()
    )
    query = (
        select(gravest, images.c.hash, images.c.png)
        .join(predictions, predictions.c.id == gravest.c.prediction_id)
        .join(images, images.c.hash == predictions.c.image_hash)
        .order_by(gravest.c.confidence.desc(), gravest.c.prediction_id.desc())
    )
    found: dict[str, WorstError] = {}
    for row in connection.execute(query):
        found.setdefault(row.hash, WorstError(row.prediction_id, row.truth, row.label, row.confidence, bytes(row.png)))
    return list(found.values())[:limit]
