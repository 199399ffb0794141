"""The gravest misreadings in a window, with their pictures; it reads at most SCANNED rows and judges nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from mlplatform.feedback.outcomes import NO_TAGS, with_tags
from mlplatform.store.tables.core import images, predictions
from mlplatform.store.tables.monitoring import judged

SCANNED = 20_000  # the newest labelled answers of the window; the index on version and time finds them
REPEATS = 8  # candidates per wanted error: the same picture may have been sent often


@dataclass(frozen=True)
class Misread:
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
    most: int,
    tags: Mapping[str, str] = NO_TAGS,
) -> list[Misread]:
    """The most confident wrong answers given in [start, end), each picture once, most confident first.

    Only answers whose truth came from one of the sources, with these tags, and of one true class where it is given.
    """
    newest = (
        select(judged)
        .where(
            judged.c.model_name == model_name,
            judged.c.model_version == version,
            judged.c.at >= start,
            judged.c.at < end,
            *with_tags(tags),
        )
        .order_by(judged.c.at.desc())
        .limit(SCANNED)
        .subquery()
    )
    wrong = select(newest.c.prediction_id, newest.c.truth, newest.c.label, newest.c.confidence).where(
        newest.c.label != newest.c.truth, newest.c.source.in_(sources)
    )
    if truth_class is not None:
        wrong = wrong.where(newest.c.truth == truth_class)
    gravest = wrong.order_by(newest.c.confidence.desc(), newest.c.prediction_id.desc()).limit(REPEATS * most).subquery()
    query = (
        select(gravest, images.c.hash, images.c.png)
        .join(predictions, predictions.c.id == gravest.c.prediction_id)
        .join(images, images.c.hash == predictions.c.image_hash)
        .order_by(gravest.c.confidence.desc(), gravest.c.prediction_id.desc())
    )
    found: dict[str, Misread] = {}
    for row in connection.execute(query):
        found.setdefault(row.hash, Misread(row.prediction_id, row.truth, row.label, row.confidence, bytes(row.png)))
    return list(found.values())[:most]
