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
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import predictions, review_samples
from monitors.statistics.review_sampling import SamplingPlan, stratum_of
from monitors.statistics.review_sampling import poisson_draw as drawn_by
from monitors.windows.window_counts import LabelLag

if TYPE_CHECKING:
    from mlplatform.store.prediction import PredictionRecord

TimeWindow = tuple[datetime, datetime]
MAX_LABEL_LAGS: Final = 20_000


@dataclass(frozen=True)
class ReviewSample:
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
class InclusionWeight:
    """What a label of a drawn answer weighs, and as a share of the heaviest."""

    weight: float
    share: float


@dataclass(frozen=True)
class ReviewClaim:
    """A drawn answer held for one reviewer until a moment."""

    prediction_id: str
    image_hash: str
    at: datetime
    until: datetime


@dataclass(frozen=True)
class ReviewProgress:
    """How many answers were drawn in a window, how many are settled, and since when the oldest waits."""

    drawn: int
    settled: int
    oldest_open: datetime | None


def draw_samples(connection: Connection, recorded: Sequence["PredictionRecord"]) -> int:
    """Draw among new answers by the plans in force; returns how many were drawn."""
    drawn: list[ReviewSample] = []
    for model, version in sorted({(answer.model_name, answer.model_version) for answer in recorded}):
        published = sampling_plans.current_plan(connection, model, version)
        if published is None:
            continue
        plan = SamplingPlan.from_json(published.plan)
        mine = [each for each in recorded if (each.model_name, each.model_version) == (model, version)]
        drawn += [found for each in mine if (found := _draw_sample(plan, published.salt, each)) is not None]
    if drawn:
        connection.execute(insert(review_samples), [dict(vars(each)) for each in drawn])
    return len(drawn)


def _draw_sample(plan: SamplingPlan, salt: str, prediction: "PredictionRecord") -> ReviewSample | None:
    inclusion = drawn_by(plan, prediction.id, salt, prediction.label, prediction.confidence)
    if inclusion is None:
        return None
    return ReviewSample(
        prediction_id=prediction.id,
        model_name=prediction.model_name,
        model_version=prediction.model_version,
        at=prediction.at,
        inclusion=inclusion,
        heaviest=plan.max_weight,
        stratum=stratum_of(prediction.label, prediction.confidence),
        place=sha256(f"{salt} place {prediction.id}".encode()).hexdigest(),
    )


def inclusion_weights(connection: Connection, prediction_ids: Collection[str]) -> dict[str, InclusionWeight]:
    """The weights of those of the answers that were drawn."""
    query = select(review_samples.c.prediction_id, review_samples.c.inclusion, review_samples.c.heaviest)
    rows = connection.execute(query.where(review_samples.c.prediction_id.in_(prediction_ids)))
    return {row.prediction_id: InclusionWeight(1 / row.inclusion, 1 / row.inclusion / row.heaviest) for row in rows}


def claim_samples(
    connection: Connection, model_name: str, reviewer: str, limit: int, duration: timedelta, now: datetime
) -> list[ReviewClaim]:
    """Hold the next open answers for a reviewer, in their random order; their own claims come first."""
    free = or_(
        review_samples.c.claimed_until.is_(None),
        review_samples.c.claimed_until <= now,
        review_samples.c.claimed_by == reviewer,
    )
    query = (
        select(review_samples.c.prediction_id, predictions.c.image_hash, predictions.c.at)
        .join(predictions, predictions.c.id == review_samples.c.prediction_id)
        .where(review_samples.c.model_name == model_name, review_samples.c.finished_at.is_(None), free)
        .order_by(
            (review_samples.c.claimed_by == reviewer).desc(), review_samples.c.place, review_samples.c.prediction_id
        )
        .limit(limit)
        .with_for_update(of=review_samples, skip_locked=True)
    )
    rows = connection.execute(query).all()
    until = now + duration
    ids = [row.prediction_id for row in rows]
    connection.execute(
        update(review_samples)
        .where(review_samples.c.prediction_id.in_(ids))
        .values(claimed_by=reviewer, claimed_until=until)
    )
    return [ReviewClaim(row.prediction_id, row.image_hash, row.at, until) for row in rows]


def mark_labelled(connection: Connection, prediction_ids: Iterable[str], now: datetime) -> None:
    """Note that these answers have their audit label; those that were not drawn are passed over."""
    ids = sorted(set(prediction_ids))
    open_ones = review_samples.c.prediction_id.in_(ids) & review_samples.c.finished_at.is_(None)
    connection.execute(update(review_samples).where(open_ones).values(finished_at=now))


def label_lags(
    connection: Connection, model_name: str, version: int, window: TimeWindow, sources: Collection[str], now: datetime
) -> list[LabelLag]:
    """How long the answers drawn in [start, end) waited for a label of these sources, or wait still; newest first."""
    known = (outcomes.c.prediction_id == review_samples.c.prediction_id) & outcomes.c.source.in_(sources)
    query = (
        select(review_samples.c.at, outcomes.c.known_at)
        .outerjoin(outcomes, known)
        .where(
            review_samples.c.model_name == model_name,
            review_samples.c.model_version == version,
            review_samples.c.at >= window[0],
            review_samples.c.at < window[1],
        )
        .order_by(review_samples.c.at.desc(), review_samples.c.prediction_id.desc())
        .limit(MAX_LABEL_LAGS)
    )
    return [
        LabelLag(max(0.0, ((row.known_at or now) - row.at).total_seconds()), row.known_at is None)
        for row in connection.execute(query)
    ]


def review_progress(connection: Connection, model_name: str, version: int, window: TimeWindow) -> ReviewProgress:
    """How the review of a version's answers given in [start, end) goes."""
    inside = (
        (review_samples.c.model_name == model_name)
        & (review_samples.c.model_version == version)
        & (review_samples.c.at >= window[0])
        & (review_samples.c.at < window[1])
    )
    waiting = select(func.min(review_samples.c.at)).where(inside, review_samples.c.finished_at.is_(None))
    row = connection.execute(select(func.count(), func.count(review_samples.c.finished_at)).where(inside)).one()
    return ReviewProgress(row[0], row[1], connection.scalar(waiting))
