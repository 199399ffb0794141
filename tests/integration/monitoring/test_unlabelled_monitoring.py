"""Early warnings in the loop: read once, restart-safe, more answers drawn for review, and never a retraining."""

from datetime import timedelta
from importlib import import_module

import numpy as np
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from mlplatform.alerting import detector_state, evaluations
from mlplatform.context import AppContext
from mlplatform.monitoring.reference_inputs import reference_period
from mlplatform.monitoring.sampling_plan import update_sampling_plan
from tests.support.monitoring_world import all_alerts, all_retrainings, tick, with_rules
from tests.support.platform_world import START, prediction, recorded
from tests.support.unlabelled_world import SURE, WATCHED, crown, look, serve

DOUBTFUL = 0.6
MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """Version 1 serves and says what its confidence is worth."""
    crown(with_rules(context, WATCHED), 1, None)
    return context


def held(context: AppContext, version: int = 1) -> detector_state.DetectorState:
    with context.database.read() as connection:
        found = detector_state.load_state(connection, "digits", version, "expected-drop")
    assert found is not None
    return found


def test_confidence_that_falls_is_a_breach_and_starts_no_retraining(world: AppContext) -> None:
    serve(world, 10, [SURE] * 49 + [DOUBTFUL])
    assert look(world, "expected-drop").state == "ok"
    serve(world, 40, [SURE] * 30 + [DOUBTFUL] * 20)
    found = look(world, "expected-drop")
    assert found.state == "breach"
    assert "proved minute by minute" in found.findings[0]["sentence"]
    [alert] = all_alerts(world)
    assert (alert.rule, alert.state, alert.severity) == ("expected-drop", "firing", "info")
    assert all_retrainings(world) == []


@pytest.mark.both_databases
def test_a_minute_is_read_once_however_often_one_looks_and_only_when_it_is_over(world: AppContext) -> None:
    serve(world, 10, [SURE] * 30)
    look(world, "expected-drop")
    before = held(world)
    assert before.streams[""]["n"] == 8, "the last minutes wait for servers that write late"
    tick(world, seconds=1)
    look(world, "expected-drop")
    assert held(world) == before
    tick(world, minutes=3)
    look(world, "expected-drop")
    assert held(world).streams[""]["n"] == 10


@pytest.mark.both_databases
def test_reading_goes_on_where_it_was_after_a_restart_and_ends_at_the_same_evidence(world: AppContext) -> None:
    confidences = np.random.default_rng(1).choice([SURE, DOUBTFUL], 45, p=[0.9, 0.1]).tolist()
    for _ in range(4):
        serve(world, 3, confidences[:15])
        look(world, "expected-drop")
    pieces = held(world)
    with world.database.write() as connection:
        detector_state.save_state(
            connection, "digits", 1, "expected-drop", detector_state.DetectorState("another definition", 99, {})
        )
    tick(world, seconds=1)
    look(world, "expected-drop")
    assert held(world) == pieces


def test_a_version_without_a_calibration_decides_nothing(world: AppContext) -> None:
    crown(world, 2, 1, None)
    now = world.clock()
    recorded(world.database, *(prediction(now, version=2, confidence=DOUBTFUL) for _ in range(200)))
    tick(world, minutes=5)
    found = look(world, "expected-drop")
    assert (found.model_version, found.state) == (2, "insufficient")


def test_answers_of_another_mix_than_the_first_ones_are_a_breach(world: AppContext) -> None:
    serve(world, 9, [SURE] * 100)
    assert look(world, "prediction-drift").state == "insufficient"
    serve(world, 8, [SURE] * 100)
    assert look(world, "prediction-drift").state == "ok"
    serve(world, 20, [SURE] * 100, labels="0123444444")
    found = look(world, "prediction-drift")
    assert found.state == "breach"
    assert "4 " in found.findings[0]["sentence"]
    assert all_retrainings(world) == []


@pytest.mark.both_databases
def test_the_first_answers_are_the_reference_and_no_part_of_the_window(world: AppContext) -> None:
    serve(world, 10, [SURE] * 100, labels="01")
    assert look(world, "prediction-drift").state == "insufficient"
    serve(world, 5, [SURE] * 100, labels="2")
    found = look(world, "prediction-drift").findings[0]
    assert (found["state"], found["n"]) == ("breach", 500)
    assert "be like the 1,000 in its first 10m" in found["sentence"]


@pytest.mark.both_databases
def test_a_week_later_the_same_hours_are_compared_and_a_new_version_begins_anew(context: AppContext) -> None:
    weekly = with_rules(context, WATCHED.replace("reference: 10m", "reference: 7d"))
    crown(weekly, 1, None)
    for hour in range(24 * 8 + 3):
        evening = hour % 24 >= 12
        serve(weekly, 3, [SURE] * 100, labels="0123456789" if evening else "01")
        tick(weekly, minutes=57)
        if hour < 24 * 7 - 1:
            continue
        found = look(weekly, "prediction-drift")
        assert found.state == ("insufficient" if hour < 24 * 7 else "ok"), found.findings
    assert "the same hours of its first 7 days" in found.findings[0]["sentence"]
    serve(weekly, 3, [SURE] * 100, labels="0123456789")
    assert look(weekly, "prediction-drift").state == "breach", "the evening's mix in the morning"
    crown(weekly, 2, 1)
    tick(weekly, minutes=30)
    assert "Version 2 has not served for" in look(weekly, "prediction-drift").findings[0]["sentence"]


def test_a_version_that_returns_keeps_the_first_days_that_it_served_without_a_break(context: AppContext) -> None:
    world = with_rules(context, WATCHED)
    start = world.clock()
    for version, expected, minutes in ((1, None, 6), (2, 1, 30), (1, 2, 4)):
        crown(world, version, expected)
        tick(world, minutes=minutes)
    with world.database.read() as connection:
        first, second = (reference_period(connection, "digits", version, 10 * MINUTE) for version in (1, 2))
        brief = reference_period(connection, "digits", 1, 5 * MINUTE)
    assert first.start == start + 36 * MINUTE, "six minutes are no first ten"
    assert second.start == start + 6 * MINUTE
    assert brief.start == start


def test_while_an_early_warning_stands_more_answers_are_drawn_for_review(world: AppContext) -> None:
    serve(world, 10, [SURE] * 49 + [DOUBTFUL])
    look(world, "expected-drop")
    calm = update_sampling_plan(world)
    serve(world, 40, [SURE] * 30 + [DOUBTFUL] * 20)
    assert look(world, "expected-drop").state == "breach"
    raised = update_sampling_plan(world)
    assert calm is not None
    assert raised is not None
    expected = 0.5 * 4 * 50 / (50 * 50 * timedelta(days=1) / timedelta(minutes=50))
    assert raised.uniform == pytest.approx(expected, rel=0.01)
    assert raised.uniform > 3 * calm.uniform


def test_an_hourly_warning_still_raises_the_sampling_after_many_evaluations_of_other_rules(world: AppContext) -> None:
    serve(world, 12, [SURE] * 100)
    look(world, "prediction-drift")
    serve(world, 12, [SURE] * 100, labels="4")
    assert look(world, "prediction-drift").state == "breach"
    for _ in range(110):
        tick(world, seconds=10)
        look(world, "latency")
    raised = update_sampling_plan(world)
    assert raised is not None
    days = timedelta(days=1) / (timedelta(minutes=24) + 110 * timedelta(seconds=10))
    assert raised.uniform == pytest.approx(0.5 * 4 * 50 / (2400 * days), rel=0.01)


@pytest.mark.both_databases
def test_mixes_of_first_answers_that_were_pinned_go_and_the_reference_is_read_from_what_was_counted(
    world: AppContext,
) -> None:
    """An upgrade: the version before pinned the mix of the first thousand; counts by minute were kept all along."""
    serve(world, 10, [SURE] * 100, labels="01")
    serve(world, 5, [SURE] * 100, labels="01")
    migration = import_module("mlplatform.store.migrations.versions.0021_drop_first_answers")
    with world.database.write() as connection:
        evaluations.store_baseline(connection, "digits", 1, "answers", "", {"shares": {"9": 1}, "until": 1}, START)
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()
    with world.database.read() as connection:
        kinds = set(evaluations.load_baselines(connection, "digits", 1))
        assert kinds == {"accuracy", "calibration", "contract"}
    found = look(world, "prediction-drift")
    assert found.state == "ok"
    assert found.findings[0]["n"] == 500


def test_a_class_that_is_no_longer_named_is_an_early_warning_of_its_own(context: AppContext) -> None:
    rules = WATCHED + (
        "  - {name: class-volume, metric: class_volume, below: 40 %, window: 1h, min_samples: 200, severity: info,\n"
        "      every: 1h, reference: 10m, false_alarms: 1 per 90d, notify: [team-slack]}\n"
    )
    world = with_rules(context, rules)
    crown(world, 1, None)
    serve(world, 10, [SURE] * 100)
    assert look(world, "class-volume").state == "insufficient"
    serve(world, 10, [SURE] * 90, labels="012345678")
    found = look(world, "class-volume")
    assert found.state == "breach"
    assert {each["key"]: each["state"] for each in found.findings}["9"] == "breach"
    assert [(alert.rule, alert.key) for alert in all_alerts(world)] == [("class-volume", "9")]
