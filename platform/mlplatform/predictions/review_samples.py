"""Answers drawn for review by people, with the chance each had; it makes no plan and judges nothing.

An answer is drawn in the transaction that records it. People see drawn answers in a random order, hold each for a
while, and settle it by an audit label. The weight of such a label is one over the chance its answer had.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, func, insert, or_, select, update

from mlplatform.predictions import sampling_plans
from mlplatform.store.tables.core import predictions
from mlplatform.store.tables.monitoring import audits, judged
from monitors.statistics.review_sampling import Plan, stratum_of
from monitors.statistics.review_sampling import draw as drawn_by
from monitors.windows.window_counts import Lag

if TYPE_CHECKING:
    from mlplatform.store.prediction import Prediction

Window = tuple[datetime, datetime]
MOST_WAITS: Final = 20_000


@dataclass(frozen=True)
class Draw:
    """One drawn answer: `inclusion` was its chance, `heaviest` the largest weight its plan could give any answer."""

    prediction_id: str
    model_name: str
    model_version: int
    at: datetime
    inclusion: float
    heaviest: float
    stratum: str
    place: str


@dataclass(frozen=True)
class Chance:
    """What a label of a drawn answer weighs, and as a share of the heaviest."""

    weight: float
    share: float


@dataclass(frozen=True)
class Claim:
    """A drawn answer held for one reviewer until a moment."""

    prediction_id: str
    image_hash: str
    at: datetime
    until: datetime


@dataclass(frozen=True)
class Progress:
    """How many answers were drawn in a window, how many are settled, and since when the oldest waits."""

    drawn: int
    settled: int
    oldest_open: datetime | None


def draw(connection: Connection, answers: Sequence["Prediction"]) -> int:
    """Draw among new answers by the plans in force; returns how many were drawn."""
    drawn: list[Draw] = []
    for model, version in sorted({(answer.model_name, answer.model_version) for answer in answers}):
        published = sampling_plans.newest(connection, model, version)
        if published is None:
            continue
        plan = Plan.from_json(published.plan)
        mine = [each for each in answers if (each.model_name, each.model_version) == (model, version)]
        drawn += [found for each in mine if (found := _drawn(plan, published.salt, each)) is not None]
    if drawn:
        connection.execute(insert(audits), [dict(vars(each)) for each in drawn])
    return len(drawn)


def _drawn(plan: Plan, salt: str, answer: "Prediction") -> Draw | None:
    inclusion = drawn_by(plan, answer.id, salt, answer.label, answer.confidence)
    if inclusion is None:
        return None
    return Draw(
        prediction_id=answer.id,
        model_name=answer.model_name,
        model_version=answer.model_version,
        at=answer.at,
        inclusion=inclusion,
        heaviest=plan.heaviest,
        stratum=stratum_of(answer.label, answer.confidence),
        place=sha256(f"{salt} place {answer.id}".encode()).hexdigest(),
    )


def chances(connection: Connection, prediction_ids: Collection[str]) -> dict[str, Chance]:
    """The weights of those of the answers that were drawn."""
    query = select(audits.c.prediction_id, audits.c.inclusion, audits.c.heaviest)
    rows = connection.execute(query.where(audits.c.prediction_id.in_(prediction_ids)))
    return {row.prediction_id: Chance(1 / row.inclusion, 1 / row.inclusion / row.heaviest) for row in rows}


def claim(
    connection: Connection, model_name: str, reviewer: str, limit: int, life: timedelta, now: datetime
) -> list[Claim]:
    """Hold the next open answers for a reviewer, in their random order; their own claims come first."""
    free = or_(audits.c.claimed_until.is_(None), audits.c.claimed_until <= now, audits.c.claimed_by == reviewer)
    query = (
        select(audits.c.prediction_id, predictions.c.image_hash, predictions.c.at)
        .join(predictions, predictions.c.id == audits.c.prediction_id)
        .where(audits.c.model_name == model_name, audits.c.finished_at.is_(None), free)
        .order_by((audits.c.claimed_by == reviewer).desc(), audits.c.place, audits.c.prediction_id)
        .limit(limit)
        .with_for_update(of=audits, skip_locked=True)
    )
    rows = connection.execute(query).all()
    until = now + life
    ids = [row.prediction_id for row in rows]
    connection.execute(
        update(audits).where(audits.c.prediction_id.in_(ids)).values(claimed_by=reviewer, claimed_until=until)
    )
    return [Claim(row.prediction_id, row.image_hash, row.at, until) for row in rows]


def settle(connection: Connection, prediction_ids: Iterable[str], now: datetime) -> None:
    """Note that these answers have their audit label; those that were not drawn are passed over."""
    ids = sorted(set(prediction_ids))
    open_ones = audits.c.prediction_id.in_(ids) & audits.c.finished_at.is_(None)
    connection.execute(update(audits).where(open_ones).values(finished_at=now))


def waits(
    connection: Connection, model_name: str, version: int, window: Window, sources: Collection[str], now: datetime
) -> list[Lag]:
    """How long the answers drawn in [start, end) waited for a label of these sources, or wait still; newest first."""
    known = (judged.c.prediction_id == audits.c.prediction_id) & judged.c.source.in_(sources)
    query = (
        select(audits.c.at, judged.c.known_at)
        .outerjoin(judged, known)
        .where(
            audits.c.model_name == model_name,
            audits.c.model_version == version,
            audits.c.at >= window[0],
            audits.c.at < window[1],
        )
        .order_by(audits.c.at.desc(), audits.c.prediction_id.desc())
        .limit(MOST_WAITS)
    )
    return [
        Lag(max(0.0, ((row.known_at or now) - row.at).total_seconds()), row.known_at is None)
        for row in connection.execute(query)
    ]


def progress(connection: Connection, model_name: str, version: int, window: Window) -> Progress:
    """How the review of a version's answers given in [start, end) goes."""
    inside = (
        (audits.c.model_name == model_name)
        & (audits.c.model_version == version)
        & (audits.c.at >= window[0])
        & (audits.c.at < window[1])
    )
    waiting = select(func.min(audits.c.at)).where(inside, audits.c.finished_at.is_(None))
    row = connection.execute(select(func.count(), func.count(audits.c.finished_at)).where(inside)).one()
    return Progress(row[0], row[1], connection.scalar(waiting))
