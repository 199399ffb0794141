"""The inputs of labelled predictions, each the first time only: one sent again says nothing new about a model."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import images, predictions
from monitors.windows.window_counts import Outcome


def first_occurrences(
    connection: Connection,
    model_name: str,
    version: int,
    rows: Sequence[Outcome],
    sources: Collection[str],
    since: datetime,
) -> dict[str, bytes]:
    """The PNG, by prediction id, of every row that is the first label on its input; `rows` in the order of `seq`.

    Only predictions made since a moment, whose truth comes from these sources, count as a first time.
    """
    if not rows:
        return {}
    ids = [row.prediction_id for row in rows]
    query = select(predictions.c.id, predictions.c.image_hash).where(predictions.c.id.in_(ids))
    hashes = {row.id: row.image_hash for row in connection.execute(query)}
    earlier = (
        select(predictions.c.image_hash)
        .join(outcomes, outcomes.c.prediction_id == predictions.c.id)
        .where(
            predictions.c.image_hash.in_(sorted(set(hashes.values()))),
            outcomes.c.model_name == model_name,
            outcomes.c.model_version == version,
            outcomes.c.seq < rows[0].seq,
            outcomes.c.source.in_(sources),
            outcomes.c.weight > 0,
            outcomes.c.at >= since,
        )
    )
    hashes_before = set(connection.scalars(earlier))
    first_by_hash: dict[str, str] = {}
    for prediction_id in ids:
        if hashes[prediction_id] not in hashes_before:
            hashes_before.add(hashes[prediction_id])
            first_by_hash[hashes[prediction_id]] = prediction_id
    pngs = connection.execute(select(images.c.hash, images.c.png).where(images.c.hash.in_(sorted(first_by_hash))))
    return {first_by_hash[row.hash]: bytes(row.png) for row in pngs}
