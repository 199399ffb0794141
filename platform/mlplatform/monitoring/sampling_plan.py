"""Keeps the review sampling plan of the serving version in step with its traffic.

While the champion is on probation, or a challenger is tried beside it, a share of the budget goes to answers on which
the two versions differ.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations
from mlplatform.context import AppContext
from mlplatform.predictions import prediction_counts, review_samples, sampling_plans, shadow_predictions
from mlplatform.promotion import probations, promotion_history, rollouts, version_comparisons
from mlplatform.store import leases
from monitors.decisions.finding import NO_DATA
from monitors.rules.alerts_config import Audit, Rule
from monitors.statistics.review_sampling import (
    SamplingPlan,
    make_sampling_plan,
    settled_shares,
    stratum_of,
    with_disagreements,
)
from registry.confidence_bins import bin_centre

TRAFFIC_PERIOD: Final = timedelta(days=1)
REVIEW_TIME: Final = timedelta(days=2)
"""So long a drawn answer may wait for its label before it counts as passed over."""
REVIEW_WATCH_PERIOD: Final = timedelta(days=16)
INITIAL_PLAN: Final = SamplingPlan(0.01)
"""What the very first version begins with, while its traffic is not known."""
_MIN_PERIOD: Final = timedelta(minutes=5)
_TOLERANCE: Final = 0.2


def update_sampling_plan(context: AppContext, lease: leases.Lease | None = None) -> SamplingPlan | None:
    """Publish a new plan for the champion when its traffic, or the need for labels, has changed; returns it.

    While a rule is suspect or an early warning stands, more is drawn: labels are what would settle it. A new version
    begins with the plan of the one before.
    """
    budget, name, now = context.rules.audit, context.rules.model, context.clock()
    if not budget.per_day:
        return None
    with context.database.write() as connection:
        if lease is not None:
            leases.require_lease(connection, lease)
        champion = promotion_history.latest_promotion(connection, name)
        if champion is None:
            return None
        published = sampling_plans.current_plan(connection, name, champion.to_version)
        current = None if published is None else SamplingPlan.from_json(published.plan)
        wanted = _target_plan(connection, budget, context.rules.rules, champion, now)
        if wanted is None:
            wanted = current or _inherited_plan(connection, champion)
        wanted = replace(wanted, settled=settled_shares(recent_reviews(connection, name, now)))
        if current is not None and _nearly_equal(current, wanted):
            return None
        sampling_plans.publish(connection, name, champion.to_version, wanted.to_json(), now)
    return wanted


def recent_reviews(connection: Connection, model_name: str, now: datetime) -> dict[str, tuple[int, int]]:
    """What became of the answers drawn in the last weeks, but for those that reviewers have hardly had time for."""
    window = (now - REVIEW_WATCH_PERIOD, now - REVIEW_TIME)
    return review_samples.reviews_by_stratum(connection, model_name, window)


def _target_plan(
    connection: Connection, budget: Audit, rules: Sequence[Rule], champion: promotion_history.Promotion, now: datetime
) -> SamplingPlan | None:
    """The plan for the traffic of the last day; None while there is too little of it to know."""
    name, version = champion.model_name, champion.to_version
    start = max(champion.at, now - TRAFFIC_PERIOD)
    if now - start < _MIN_PERIOD:
        return None
    days = (now - start) / timedelta(days=1)
    answers: dict[str, int] = defaultdict(int)
    doubt: dict[str, float] = defaultdict(float)
    for label, steps in prediction_counts.class_counts(connection, name, version, start, now).items():
        for step, n in steps.items():
            confidence = bin_centre(step)
            stratum = stratum_of(label, confidence)
            answers[stratum] += n
            doubt[stratum] += n * (1 - confidence)
    if not answers:
        return None
    per_day = budget.per_day * (budget.boost if _needs_more_labels(connection, rules, champion) else 1.0)
    error = {stratum: doubt[stratum] / n for stratum, n in answers.items()}
    daily = {stratum: n / days for stratum, n in answers.items()}
    differing = _differing_per_day(connection, champion, start, now) if budget.disagreements else None
    if differing is None:
        return make_sampling_plan(per_day, daily, error, budget.uniform)
    return with_disagreements(per_day, daily, error, budget.uniform, budget.disagreements, differing)


def _differing_per_day(
    connection: Connection, champion: promotion_history.Promotion, start: datetime, now: datetime
) -> float | None:
    """How many answers a day two versions differ on, one more for safety; None while no other version is asked."""
    trial_id, name = None, champion.model_name
    probation = probations.find_by_promotion(connection, champion.seq)
    if probation is not None and probation.state in probations.OPEN_STATES and now < probation.until:
        trial_id = version_comparisons.probation_trial_id(champion.seq)
    elif (rollout := rollouts.running_rollout(connection, name)) is not None:
        trial_id, start = rollout.id, max(start, rollout.at)
    if trial_id is None:
        return None
    differing = shadow_predictions.count_differing(connection, trial_id, start, now)
    return (differing + 1) / max((now - start) / timedelta(days=1), _MIN_PERIOD / timedelta(days=1))


def _needs_more_labels(connection: Connection, rules: Sequence[Rule], champion: promotion_history.Promotion) -> bool:
    """Whether labels would settle something.

    A suspicion, an early warning, which only they can prove or refute, or a proven break, whose retraining has to show
    on labels that it helps.
    """
    name, version, early = (
        champion.model_name,
        champion.to_version,
        {rule.name for rule in rules if rule.metric_spec.is_early_warning},
    )
    wanting = {rule.name for rule in rules if rule.metric_spec.is_early_warning or rule.metric_spec.reads_labels}
    states = evaluations.latest_states(connection, name, version, (rule.name for rule in rules))
    if any(state == "suspect" or (state == "breach" and rule in wanting) for rule, state in states.items()):
        return True
    open_now = alert_records.open_alerts(connection, name)
    return any(alert.rule in early and alert.version == version and alert.key != NO_DATA for alert in open_now)


def _inherited_plan(connection: Connection, champion: promotion_history.Promotion) -> SamplingPlan:
    before = None
    if champion.from_version is not None:
        before = sampling_plans.current_plan(connection, champion.model_name, champion.from_version)
    return INITIAL_PLAN if before is None else replace(SamplingPlan.from_json(before.plan), differing=0.0)


def _nearly_equal(plan: SamplingPlan, other: SamplingPlan) -> bool:
    """Whether no chance differs by more than a fifth: each published plan is a row to keep."""
    names = {"", *plan.strata, *other.strata}
    groups = {*plan.settled, *other.settled}
    if any(abs(plan.settled.get(name, 1.0) / other.settled.get(name, 1.0) - 1) > _TOLERANCE for name in groups):
        return False
    if (plan.differing > 0) != (other.differing > 0):
        return False
    if plan.differing and abs(plan.differing / other.differing - 1) > _TOLERANCE:
        return False
    return all(abs(plan.chance(name) / other.chance(name) - 1) <= _TOLERANCE for name in names)
