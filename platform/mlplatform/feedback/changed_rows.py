"""Finds labelled inputs that two versions both answered and of which one alone was right: rows gained and lost.

Only labels that estimate are read: people report the errors of the version that served, so by corrections alone every
version loses against one that only answered in the shadow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from mlplatform.feedback.label_precedence import ESTIMATION_SOURCES
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import predictions, shadow_prediction_rows
from mlplatform.store.tables.promotion import probations, rollouts

SCAN_LIMIT: Final = 5_000
"""The newest labelled predictions of each version that are read, of the times in which the other was asked as well."""


@dataclass(frozen=True)
class ChangedRow:
    """A labelled prediction with what each of two versions said of its input."""

    prediction_id: str
    truth: str
    before: str
    after: str
    at: datetime


@dataclass(frozen=True)
class ChangedRows:
    """What the later version got right and the earlier one wrong, and the other way round, newest first.

    Both versions answered `compared` labelled inputs; of each the newest label decides whether it stands in a list.
    `is_cut` says that older labelled predictions were not read.
    """

    compared: int
    gained: Sequence[ChangedRow]
    lost: Sequence[ChangedRow]
    is_cut: bool = False


@dataclass(frozen=True)
class _Pairs:
    """Labelled predictions of one version that the other answered too, by the hash of their input."""

    rows: Sequence[tuple[str, ChangedRow]]
    is_cut: bool


def changed_rows(
    connection: Connection, model_name: str, versions: tuple[int, int], start: datetime, end: datetime
) -> ChangedRows:
    """Compare an earlier and a later version on the labelled predictions made in [start, end).

    One of the two had served the prediction and the other had answered the same input in the shadow.
    """
    times = _shared_times(connection, model_name, versions, (start, end))
    if not times:
        return ChangedRows(0, [], [])
    found = [_pairs(connection, model_name, versions, times, later_served) for later_served in (False, True)]
    newest = dict[str, ChangedRow]()
    for image_hash, row in sorted(
        (pair for pairs in found for pair in pairs.rows),
        key=lambda pair: (pair[1].at, pair[1].prediction_id),
        reverse=True,
    ):
        newest.setdefault(image_hash, row)
    differing = [row for row in newest.values() if (row.before == row.truth) != (row.after == row.truth)]
    return ChangedRows(
        len(newest),
        [row for row in differing if row.after == row.truth],
        [row for row in differing if row.before == row.truth],
        any(pairs.is_cut for pairs in found),
    )


def _shared_times(
    connection: Connection, model_name: str, versions: tuple[int, int], window: tuple[datetime, datetime]
) -> list[tuple[datetime, datetime]]:
    """When both versions were asked, within a window: in rollouts of one beside the other, and in probations."""
    trials = (
        select(rollouts.c.at, rollouts.c.ended_at).where(
            rollouts.c.model_name == model_name,
            rollouts.c.version.in_(versions),
            rollouts.c.beside.in_(versions),
        ),
        select(probations.c.at, probations.c.until).where(
            probations.c.model_name == model_name,
            probations.c.version.in_(versions),
            probations.c.before.in_(versions),
        ),
    )
    times = [
        (max(start, window[0]), min(end or window[1], window[1]))
        for trial in trials
        for start, end in connection.execute(trial)
    ]
    return [(start, end) for start, end in times if start < end]


def _pairs(
    connection: Connection,
    model_name: str,
    versions: tuple[int, int],
    times: Sequence[tuple[datetime, datetime]],
    later_served: bool,
) -> _Pairs:
    """The newest predictions of one version with a label that estimates, as far as the other answered them too."""
    served, shadow = (versions[1], versions[0]) if later_served else versions
    newest = (
        select(outcomes.c.prediction_id, outcomes.c.at, outcomes.c.truth, outcomes.c.label)
        .where(
            outcomes.c.model_name == model_name,
            outcomes.c.model_version == served,
            or_(*(and_(outcomes.c.at >= start, outcomes.c.at < end) for start, end in times)),
            _estimates(),
        )
        .order_by(outcomes.c.at.desc())
        .limit(SCAN_LIMIT)
        .subquery()
    )
    other = shadow_prediction_rows.c
    query = (
        select(newest, other.label.label("other_label"), predictions.c.image_hash)
        .select_from(newest)
        .join(predictions, predictions.c.id == newest.c.prediction_id)
        .outerjoin(
            shadow_prediction_rows, (other.prediction_id == newest.c.prediction_id) & (other.model_version == shadow)
        )
    )
    rows, read = [], 0
    for row in connection.execute(query):
        read += 1
        if row.other_label is not None:
            both = (row.other_label, row.label) if later_served else (row.label, row.other_label)
            rows.append((row.image_hash, ChangedRow(row.prediction_id, row.truth, *both, row.at)))
    return _Pairs(rows, read == SCAN_LIMIT)


def _estimates() -> ColumnElement[bool]:
    """Whether a label says something of all predictions: drawn for review, or come by itself."""
    is_drawn = (outcomes.c.source == "audit") & (outcomes.c.weight > 0)
    return outcomes.c.source.in_(ESTIMATION_SOURCES) & (is_drawn | outcomes.c.seen.contains("delayed:"))
