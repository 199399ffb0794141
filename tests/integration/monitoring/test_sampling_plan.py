"""The sampling plan follows the traffic, the need for labels and the champion."""

from datetime import timedelta

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import FencedError
from mlplatform.monitoring.sampling_plan import INITIAL_PLAN, update_sampling_plan
from mlplatform.predictions import review_samples, sampling_plans
from monitors.statistics.review_sampling import SamplingPlan
from tests.support.monitoring_world import RULES, answer, lease_of, look, promote, tick, with_rules
from tests.support.platform_world import prediction, recorded

AUDITED = RULES.replace("channels:", "audit: {per_day: 50, boost: 4}\nchannels:", 1)


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
