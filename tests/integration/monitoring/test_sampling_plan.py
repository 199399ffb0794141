"""The sampling plan follows the traffic, the need for labels and the champion."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from mlplatform.context import AppContext
from mlplatform.errors import FencedError
from mlplatform.monitoring.sampling_plan import INITIAL_PLAN, update_sampling_plan
from mlplatform.operations.review_progress import skipped_reviews_sentence
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.store.tables.predictions import review_samples as table
from monitors.statistics.review_sampling import SamplingPlan
from tests.support.monitoring_world import RULES, answer, lease_of, look, promote, tick, with_rules
from tests.support.platform_world import prediction, recorded
from tests.support.probation_world import forever, give, warden

HOUR = timedelta(hours=1)
AUDITED = RULES.replace("channels:", "audit: {per_day: 50, boost: 4}\nchannels:", 1)

ON_PROBATION = AUDITED.replace("channels:", "probation: {period: 3d}\nchannels:", 1)


@pytest.fixture
def world(context: AppContext) -> AppContext:
    promote(with_rules(context, AUDITED))
    return context


def traffic(context: AppContext, sure: int, doubtful: int = 0) -> None:
    now = context.clock()
    rows = [prediction(now, confidence=0.999) for _ in range(sure)]
    recorded(context.database, *rows, *(prediction(now, confidence=0.5) for _ in range(doubtful)))


def newest(context: AppContext, version: int = 1) -> SamplingPlan | None:
    with context.database.read() as connection:
        found = sampling_plans.current_plan(connection, "digits", version)
    return None if found is None else SamplingPlan.from_json(found.plan)


def test_without_a_budget_or_a_champion_nothing_is_planned(context: AppContext) -> None:
    assert update_sampling_plan(with_rules(context, AUDITED)) is None
    promote(with_rules(context))
    assert update_sampling_plan(context) is None
    assert newest(context) is None


def test_the_first_plan_is_small_while_the_traffic_is_not_known(world: AppContext) -> None:
    assert update_sampling_plan(world) == INITIAL_PLAN == newest(world)
    assert update_sampling_plan(world) is None


def test_the_plan_draws_about_its_budget_a_day_and_more_of_the_doubtful(world: AppContext) -> None:
    traffic(world, 380, 20)
    tick(world, hours=12)
    plan = update_sampling_plan(world)
    assert plan is not None
    assert plan.uniform == pytest.approx(0.5 * 50 / 800)
    assert plan.chance("3 0") > 2 * plan.chance("3 3")
    assert 760 * plan.chance("3 3") + 40 * plan.chance("3 0") == pytest.approx(50)
    assert update_sampling_plan(world) is None, "nothing has changed"


def test_a_suspect_rule_raises_the_budget(world: AppContext) -> None:
    answer(world, 97, 3)
    traffic(world, 900)
    tick(world, minutes=30)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.state == "suspect"
    plan = update_sampling_plan(world)
    assert plan is not None
    assert plan.uniform == pytest.approx(0.5 * 4 * 50 / (1000 * 48), rel=0.01)


def test_a_proven_break_raises_the_budget_for_its_retraining(world: AppContext) -> None:
    answer(world, 40, 60)
    traffic(world, 900)
    tick(world, minutes=30)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.state == "breach"
    plan = update_sampling_plan(world)
    assert plan is not None
    assert plan.uniform == pytest.approx(0.5 * 4 * 50 / (1000 * 48), rel=0.01)


def test_a_new_version_begins_with_the_plan_of_the_one_before(world: AppContext) -> None:
    traffic(world, 400)
    tick(world, hours=12)
    before = update_sampling_plan(world)
    promote(world, 2)
    assert update_sampling_plan(world) == before
    assert newest(world, 2) == before


@pytest.mark.both_databases
def test_answers_are_drawn_by_it_from_then_on(world: AppContext) -> None:
    traffic(world, 20)
    tick(world, hours=12)
    assert update_sampling_plan(world) == SamplingPlan(1.0), "all traffic fits into the budget"
    traffic(world, 7)
    with world.database.read() as connection:
        whole = (world.clock() - timedelta(days=1), world.clock() + timedelta(days=1))
        assert review_samples.review_progress(connection, "digits", 1, whole).drawn == 7


@pytest.mark.both_databases
def test_a_lost_lease_publishes_nothing(world: AppContext) -> None:
    lease = lease_of(world, "paused")
    tick(world, seconds=16)
    lease_of(world, "the next leader")
    with pytest.raises(FencedError):
        update_sampling_plan(world, lease)
    assert newest(world) is None


def drawn_strata(context: AppContext) -> list[tuple[str, float]]:
    with context.database.read() as connection:
        rows = connection.execute(
            select(table.c.stratum, table.c.inclusion).order_by(table.c.at, table.c.prediction_id)
        )
        return [(row.stratum, row.inclusion) for row in rows]


@pytest.mark.both_databases
def test_on_probation_answers_on_which_the_versions_differ_are_drawn_with_a_chance_of_their_own(
    context: AppContext,
) -> None:
    """The version before reads "3" everywhere; the new one answers "5" to one picture in ten."""
    promote(with_rules(context, ON_PROBATION), 1)
    tick(context, minutes=1)
    promote(context, 2)
    lease = forever(context)
    for minute in range(20):
        now = context.clock()
        labels = ["5" if number == 0 else "3" for number in range(10)]
        recorded(context.database, *(answered(now, label, minute * 10 + n) for n, label in enumerate(labels)))
        warden(context, before="3").tick(lease)
        update_sampling_plan(context)
        tick(context, minutes=1)
    plan = newest(context, 2)
    assert plan is not None
    per_day = 200 / 20 * 60 * 24
    assert plan.differing == pytest.approx(0.5 * 50 / (per_day / 10), rel=0.3)
    assert plan.uniform == pytest.approx(0.5 * 50 / per_day, rel=0.3)

    with context.database.write() as connection:
        sampling_plans.publish(connection, "digits", 2, SamplingPlan(0.01, {}, 1.0).to_json(), context.clock())
    now = context.clock()
    recorded(context.database, *(answered(now, "5" if n % 2 else "3", 1000 + n) for n in range(40)))
    warden(context, before="3").tick(lease)
    drawn = [each for each in drawn_strata(context) if each == ("versions differ", 1.0)]
    assert len(drawn) == 20, "each answer on which they differ, with the chance it had"
    with context.database.write() as connection:
        claimed = review_samples.claim_samples(connection, "digits", "ann", 100, HOUR, now)
    assert len(claimed) >= 20, "people see them as they see any other"


def test_after_probation_none_is_drawn_for_that(context: AppContext) -> None:
    promote(with_rules(context, ON_PROBATION), 1)
    tick(context, minutes=1)
    promote(context, 2)
    lease = forever(context)
    warden(context).tick(lease)
    traffic_of(context, 2)
    tick(context, minutes=10)
    plan = update_sampling_plan(context)
    assert plan is not None
    assert plan.differing > 0
    tick(context, days=3)
    warden(context).tick(lease)
    traffic_of(context, 2)
    plan = update_sampling_plan(context)
    assert plan is not None
    assert plan.differing == 0


def answered(at: datetime, label: str, seed: int) -> PredictionWithInput:
    return prediction(at, label=label, version=2, seed=50_000 + seed, confidence=0.999)


def traffic_of(context: AppContext, version: int) -> None:
    now = context.clock()
    recorded(context.database, *(prediction(now, confidence=0.999, version=version) for _ in range(300)))


def test_a_sample_waits_for_the_other_version_before_people_see_it(context: AppContext) -> None:
    promote(with_rules(context, ON_PROBATION), 1)
    now = context.clock()
    with context.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(1.0, {}, 1.0).to_json(), now)
    recorded(context.database, prediction(now, seed=1))
    for minutes, seen in ((1, 0), (10, 1)):
        tick(context, minutes=minutes)
        with context.database.write() as connection:
            claims = review_samples.claim_samples(connection, "digits", "ann", 5, HOUR, context.clock())
        assert len(claims) == seen


def test_what_reviewers_skip_is_said_and_weighed(world: AppContext) -> None:
    """Sure answers are labelled 1 in 5, doubtful ones always."""
    with world.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(1.0).to_json(), world.clock())
    now = world.clock()
    doubtful = recorded(world.database, *(prediction(now, seed=60_000 + n, confidence=0.5) for n in range(40)))
    sure = recorded(world.database, *(prediction(now, seed=70_000 + n, confidence=0.999) for n in range(100)))
    give(world, [*doubtful, *sure[:20]])
    tick(world, hours=12)
    plan = update_sampling_plan(world)
    assert plan is None or plan.settled == {}
    tick(world, days=3)
    traffic(world, 380, 20)
    tick(world, hours=1)
    plan = update_sampling_plan(world)
    assert plan is not None
    assert plan.settled == {"0": 1.0, "3": 0.2}
    row = prediction(world.clock(), seed=80_000, confidence=0.999)
    with world.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, replace(plan, uniform=1.0, strata={}).to_json(), world.clock())
    [key] = recorded(world.database, row)
    with world.database.read() as connection:
        [weight] = review_samples.inclusion_weights(connection, [key]).values()
    assert (weight.weight, weight.share) == (5.0, 1.0)
    said = skipped_reviews_sentence(plan.settled)
    assert "confidence 98% to 100% 20%, confidence 0% to 60% 100%" in said
