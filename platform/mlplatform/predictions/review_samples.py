"""Draws predictions for people to label, each with a known chance, so that their labels estimate the model's error.

A prediction is drawn in the transaction that records it. One on which another version says something else may be drawn
once that version has been asked, with a larger chance; until then people do not see it. People see drawn predictions
in a random order, hold each for a while, and settle it by an audit label. The weight of such a label is one over the
chance of its prediction.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, ColumnElement, Connection, and_, exists, func, insert, or_, select, update

from mlplatform.predictions import sampling_plans
from mlplatform.store.tables.feedback import outcomes, review_verdicts
from mlplatform.store.tables.predictions import predictions, review_samples
from monitors.statistics.review_sampling import (
    DISAGREEMENT_STRATUM,
    SamplingPlan,
    draw_among_differing,
    poisson_draw,
    stratum_of,
)
from monitors.windows.window_counts import LabelLag

if TYPE_CHECKING:
    from mlplatform.store.prediction import PredictionRecord

TimeWindow = tuple[datetime, datetime]
MAX_LABEL_LAGS: Final = 20_000
COMPARISON_PERIOD: Final = timedelta(minutes=10)
"""For so long after an answer another version may be asked about it; then its chance to be drawn is settled."""
SKIP_DURATION: Final = timedelta(hours=1)
"""For so long an input that a reviewer skipped is shown to others first."""


@dataclass(frozen=True)
class ReviewSample:
    """One drawn prediction: `inclusion` is its chance to be drawn and labelled, `heaviest` the largest weight."""

    prediction_id: str
    model_name: str
    model_version: int
    at: datetime
    inclusion: float
    heaviest: float
    stratum: str
    place: str
    claimed_until: datetime | None = None


@dataclass(frozen=True)
class InclusionWeight:
    """The weight of a label of a drawn prediction, and as a share of the heaviest."""

    weight: float
    share: float


UNIT_WEIGHT: Final = InclusionWeight(1.0, 1.0)
"""The weight of a label whose prediction nobody drew: it stands for itself."""
ZERO_WEIGHT: Final = InclusionWeight(0.0, 0.0)
"""The weight of an audit label on a prediction that was passed over while predictions were drawn: it would mislead."""


@dataclass(frozen=True)
class ReviewClaim:
    """A drawn prediction held for one reviewer until a moment."""

    prediction_id: str
    image_hash: str
    at: datetime
    until: datetime


@dataclass(frozen=True)
class ReviewProgress:
    """How many predictions were drawn in a window, how many have their label, and since when the oldest waits."""

    drawn: int
    settled: int
    oldest_open: datetime | None


def draw_samples(connection: Connection, recorded: Sequence["PredictionRecord"]) -> int:
    """Draw among new predictions by the plans in force; returns how many were drawn."""
    drawn: list[ReviewSample] = []
    for model, version in sorted({(row.model_name, row.model_version) for row in recorded}):
        published = sampling_plans.current_plan(connection, model, version)
        if published is None:
            continue
        plan = SamplingPlan.from_json(published.plan)
        of_version = [row for row in recorded if (row.model_name, row.model_version) == (model, version)]
        samples = [_draw_sample(plan, published.salt, row) for row in of_version]
        drawn += [sample for sample in samples if sample is not None]
    if drawn:
        connection.execute(insert(review_samples), [dict(vars(sample)) for sample in drawn])
    return len(drawn)


def _draw_sample(plan: SamplingPlan, salt: str, prediction: "PredictionRecord") -> ReviewSample | None:
    chance = poisson_draw(plan, prediction.id, salt, prediction.counted_as, prediction.confidence)
    if chance is None:
        return None
    stratum = stratum_of(prediction.counted_as, prediction.confidence)
    return ReviewSample(
        prediction_id=prediction.id,
        model_name=prediction.model_name,
        model_version=prediction.model_version,
        at=prediction.at,
        inclusion=plan.inclusion(stratum, chance),
        heaviest=plan.max_weight,
        stratum=stratum,
        place=_place_in_queue(salt, prediction.id),
        claimed_until=prediction.at + COMPARISON_PERIOD if plan.differing else None,
    )


def _place_in_queue(salt: str, prediction_id: str) -> str:
    return sha256(f"{salt} place {prediction_id}".encode()).hexdigest()


def draw_disagreements(
    connection: Connection, answered: Sequence["PredictionRecord"], differing: Collection[str]
) -> int:
    """Draw among answers that another version has just been asked about; returns how many that adds.

    `differing` are the ids of those of which it says something else. Their chance is that of the plan of their time,
    which a sample that nobody has labelled yet has from now on as well. All that waited for this are shown to people.
    """
    ids = [row.id for row in answered]
    query = select(review_samples.c.prediction_id, review_samples.c.finished_at)
    drawn = {row[0]: row[1] for row in connection.execute(query.where(review_samples.c.prediction_id.in_(ids)))}
    held = review_samples.c.prediction_id.in_(ids) & (review_samples.c.claimed_by == "")
    connection.execute(update(review_samples).where(held).values(claimed_until=None))
    added: list[ReviewSample] = []
    for row in answered:
        if row.id not in differing or drawn.get(row.id) is not None:
            continue
        published = sampling_plans.plan_at(connection, row.model_name, row.model_version, row.at)
        if published is None:
            continue
        plan = SamplingPlan.from_json(published.plan)
        chance = draw_among_differing(plan, row.id, published.salt, row.counted_as, row.confidence)
        if chance is None:
            continue
        inclusion = plan.inclusion(DISAGREEMENT_STRATUM, chance)
        if row.id in drawn:
            changed = review_samples.c.prediction_id == row.id
            connection.execute(
                update(review_samples).where(changed).values(inclusion=inclusion, stratum=DISAGREEMENT_STRATUM)
            )
            continue
        added.append(
            ReviewSample(
                prediction_id=row.id,
                model_name=row.model_name,
                model_version=row.model_version,
                at=row.at,
                inclusion=inclusion,
                heaviest=plan.max_weight,
                stratum=DISAGREEMENT_STRATUM,
                place=_place_in_queue(published.salt, row.id),
            )
        )
    if added:
        connection.execute(insert(review_samples), [dict(vars(sample)) for sample in added])
    return len(added)


def inclusion_weights(connection: Connection, prediction_ids: Collection[str]) -> dict[str, InclusionWeight]:
    """The weights of those of the predictions that were drawn."""
    query = select(review_samples.c.prediction_id, review_samples.c.inclusion, review_samples.c.heaviest)
    rows = connection.execute(query.where(review_samples.c.prediction_id.in_(prediction_ids)))
    return {row.prediction_id: InclusionWeight(1 / row.inclusion, 1 / row.inclusion / row.heaviest) for row in rows}


def claim_samples(
    connection: Connection, model_name: str, reviewer: str, limit: int, duration: timedelta, now: datetime
) -> list[ReviewClaim]:
    """Hold the next open samples for a reviewer, in their random order; those they hold already come first."""
    claimable = or_(
        review_samples.c.claimed_until.is_(None),
        review_samples.c.claimed_until <= now,
        review_samples.c.claimed_by == reviewer,
    )
    query = (
        select(review_samples.c.prediction_id, predictions.c.image_hash, predictions.c.at)
        .join(predictions, predictions.c.id == review_samples.c.prediction_id)
        .where(
            review_samples.c.model_name == model_name,
            review_samples.c.finished_at.is_(None),
            claimable,
            ~passed_by(review_samples.c.prediction_id, reviewer, now),
            ~_labelled_by(review_samples.c.prediction_id, reviewer),
        )
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


def passed_by(prediction_id: Column[str], reviewer: str, now: datetime) -> ColumnElement[bool]:
    """Whether a reviewer could not say what a prediction's input shows, or skipped it within the last hour."""
    skipped_lately = and_(review_verdicts.c.verdict == "skip", review_verdicts.c.at > now - SKIP_DURATION)
    return exists().where(
        review_verdicts.c.prediction_id == prediction_id,
        review_verdicts.c.reviewer == reviewer,
        or_(review_verdicts.c.verdict == "unsure", skipped_lately),
    )


def _labelled_by(prediction_id: Column[str], reviewer: str) -> ColumnElement[bool]:
    """Whether a reviewer said already what a drawn input shows, which is no label yet where others must agree."""
    return exists().where(
        review_verdicts.c.prediction_id == prediction_id,
        review_verdicts.c.reviewer == reviewer,
        review_verdicts.c.verdict == "label",
        review_verdicts.c.queue == "draw",
    )


def held_sample(connection: Connection, model_name: str, reviewer: str, now: datetime) -> str | None:
    """The first open sample that a reviewer holds now."""
    query = (
        select(review_samples.c.prediction_id)
        .where(
            review_samples.c.model_name == model_name,
            review_samples.c.finished_at.is_(None),
            review_samples.c.claimed_by == reviewer,
            review_samples.c.claimed_until > now,
            ~passed_by(review_samples.c.prediction_id, reviewer, now),
            ~_labelled_by(review_samples.c.prediction_id, reviewer),
        )
        .order_by(review_samples.c.place, review_samples.c.prediction_id)
        .limit(1)
    )
    return connection.scalar(query)


def was_claimed_by(connection: Connection, model_name: str, prediction_id: str, reviewer: str) -> bool:
    """Whether that reviewer was the last to hold a sample, also where their time is over."""
    query = select(review_samples.c.claimed_by).where(
        review_samples.c.prediction_id == prediction_id, review_samples.c.model_name == model_name
    )
    return connection.scalar(query) == reviewer


def release_sample(connection: Connection, prediction_id: str, reviewer: str) -> None:
    """Let others have a sample that a reviewer holds."""
    held = (review_samples.c.prediction_id == prediction_id) & (review_samples.c.claimed_by == reviewer)
    connection.execute(update(review_samples).where(held).values(claimed_by="", claimed_until=None))


def count_open(connection: Connection, model_name: str, limit: int) -> int:
    """How many samples of a model wait for a label, counted up to a limit."""
    open_samples = (
        select(review_samples.c.prediction_id)
        .where(review_samples.c.model_name == model_name, review_samples.c.finished_at.is_(None))
        .limit(limit)
        .subquery()
    )
    return connection.scalar(select(func.count()).select_from(open_samples)) or 0


def mark_labelled(connection: Connection, prediction_ids: Iterable[str], now: datetime) -> None:
    """Mark the samples of these predictions as labelled; predictions that were not drawn are passed over."""
    ids = sorted(set(prediction_ids))
    open_samples = review_samples.c.prediction_id.in_(ids) & review_samples.c.finished_at.is_(None)
    connection.execute(update(review_samples).where(open_samples).values(finished_at=now))


def label_lags(
    connection: Connection, model_name: str, version: int, window: TimeWindow, sources: Collection[str], now: datetime
) -> list[LabelLag]:
    """How long the samples of [start, end) waited for a label of these sources, or wait still; newest first."""
    has_label = (outcomes.c.prediction_id == review_samples.c.prediction_id) & outcomes.c.source.in_(sources)
    query = (
        select(review_samples.c.at, outcomes.c.known_at)
        .outerjoin(outcomes, has_label)
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


def reviews_by_stratum(connection: Connection, model_name: str, window: TimeWindow) -> dict[str, tuple[int, int]]:
    """How many of a model's predictions made in [start, end) were drawn, and how many of them labelled, by stratum."""
    query = (
        select(review_samples.c.stratum, func.count(), func.count(review_samples.c.finished_at))
        .where(
            review_samples.c.model_name == model_name,
            review_samples.c.at >= window[0],
            review_samples.c.at < window[1],
        )
        .group_by(review_samples.c.stratum)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}


def review_progress(connection: Connection, model_name: str, version: int, window: TimeWindow) -> ReviewProgress:
    """How far the review of a version's predictions made in [start, end) is."""
    in_window = (
        (review_samples.c.model_name == model_name)
        & (review_samples.c.model_version == version)
        & (review_samples.c.at >= window[0])
        & (review_samples.c.at < window[1])
    )
    waiting = select(func.min(review_samples.c.at)).where(in_window, review_samples.c.finished_at.is_(None))
    row = connection.execute(select(func.count(), func.count(review_samples.c.finished_at)).where(in_window)).one()
    return ReviewProgress(row[0], row[1], connection.scalar(waiting))
