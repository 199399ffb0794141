"""What an alert starts."""

from dataclasses import replace

import pytest

from mlplatform.alerting import alert_records
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.monitoring.alert_actions import LABEL_AUDIT_SIZE, start_action
from mlplatform.monitoring.evaluate import evaluate
from monitors.alerts import Alert
from monitors.decisions.finding import Finding
from monitors.rules.alerts_config import Rule
from monitors.rules.metric_catalog import Action
from tests.support.monitoring_world import (
    RULES,
    all_alerts,
    all_evaluations,
    all_retrainings,
    answer,
    open_tasks,
    promote,
    rule,
    with_rules,
)
from tests.support.platform_world import prediction, recorded


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform with one firing alert on class 3 whose rule has started nothing yet."""
    promote(with_rules(context, RULES.replace("label-audit", "none")))
    answer(context, 30, 30)
    evaluate(context, rule(context, "class-error"), context.clock())
    return context


def start(context: AppContext, action: Action, alert: Alert | None = None) -> str | None:
    """Act on the alert as if its rule had this action."""
    the_rule: Rule = rule(context, "class-error").model_copy(update={"action": action})
    finding = Finding(**all_evaluations(context)[0].findings[0])
    with context.database.write() as connection:
        return start_action(
            connection, context.contracts, the_rule, alert or all_alerts(context)[0], finding, context.clock()
        )


def test_retrain_queues_a_retraining_with_the_finding_as_its_reason(world: AppContext) -> None:
    started = start(world, "retrain")
    [row] = all_retrainings(world)
    assert (row.id, row.pipeline, row.trigger, row.requested_by) == (started, "digits", "alert", "watcher")
    assert row.reason.startswith("class-error: Class 3: 30 of 60 labelled answers wrong")


def test_a_second_alert_joins_the_queued_retraining(world: AppContext) -> None:
    assert start(world, "retrain") == start(world, "retrain")
    [row] = all_retrainings(world)
    assert len(row.causes) == 2


def test_tune_serving_opens_one_task_per_alert_with_what_was_measured(world: AppContext) -> None:
    started = start(world, "tune-serving")
    assert start(world, "tune-serving") is None
    [task] = open_tasks(world)
    assert (task.id, task.kind, task.details) == (
        started,
        "tune-serving",
        {"version": 1, "ratio": 0.5, "baseline_ms": None},
    )


@pytest.mark.both_databases
def test_a_label_audit_asks_for_labels_and_answers_in_doubt_about_the_class_in_turns(world: AppContext) -> None:
    now = world.clock()
    sure, unsure = recorded(
        world.database, prediction(now, seed=1, confidence=0.8), prediction(now, seed=2, confidence=0.4)
    )
    misread, other = recorded(
        world.database,
        prediction(now, seed=3, label="4", probabilities={"4": 0.3, "3": 0.29}),
        prediction(now, seed=4, label="4", confidence=0.99),
    )
    recorded(world.database, prediction(now, seed=5, version=2, confidence=0.2))
    start(world, "label-audit")
    [task] = open_tasks(world)
    assert task.details["class"] == "3"
    doubted, *free = task.details["predictions"]
    assert [item["id"] for item in free] == [unsure, misread, sure, other]
    assert all("feedback" not in item and item["why"].startswith("unlabelled") for item in free)
    assert doubted["why"].startswith("labelled 3; the model gives 5 90% and 3 1%")
    assert len(doubted["feedback"]) == 1


def test_a_label_audit_is_of_a_size_that_people_can_do(world: AppContext) -> None:
    recorded(world.database, *(prediction(world.clock(), seed=seed) for seed in range(LABEL_AUDIT_SIZE + 5)))
    start(world, "label-audit")
    assert len(open_tasks(world)[0].details["predictions"]) == LABEL_AUDIT_SIZE


@pytest.mark.parametrize("action", ["retrain", "tune-serving", "label-audit"])
def test_what_was_started_is_in_the_audit_log(world: AppContext, action: Action) -> None:
    started = start(world, action)
    with world.database.read() as connection:
        entry = audit_entries.recent_entries(connection)[0]
    alert = all_alerts(world)[0]
    assert (entry["action"], entry["subject"], entry["details"]) == (action, f"alert/{alert.id}", {"started": started})


def test_no_action_starts_nothing_and_notes_nothing(world: AppContext) -> None:
    with world.database.read() as connection:
        before = audit_entries.recent_entries(connection)
    assert start(world, "none") is None
    with world.database.read() as connection:
        assert audit_entries.recent_entries(connection) == before


@pytest.mark.both_databases
def test_what_was_started_goes_when_the_transaction_fails(world: AppContext) -> None:
    alert = replace(all_alerts(world)[0], id="no such alert")
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError):
        start(world, "label-audit", alert)
    assert open_tasks(world) == []
    with world.database.read() as connection:
        assert len(alert_records.list_alerts(connection)) == 1
