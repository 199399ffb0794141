"""What a decision rests on."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.alerting import alert_records, evaluations
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.monitoring.evaluation_report import prune_reports, report_path
from mlplatform.monitoring.row_inputs import load_window
from mlplatform.monitoring.rule_inputs import load_baseline
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.settings import Settings
from monitors.alerts import Alert
from monitors.windows.window import Baseline, HostLatency, Window
from tests.support.monitoring_world import promote, rule, tick, with_rules
from tests.support.platform_world import START, prediction, recorded

pytestmark = pytest.mark.both_databases

DIGITS = tuple("0123456789")


@pytest.fixture
def world(context: AppContext) -> AppContext:
    promote(with_rules(context))
    return context


def champion(context: AppContext) -> promotion_history.Promotion:
    current = promotion_service(context).current("digits")
    assert current is not None
    return current


def window(context: AppContext) -> Window:
    with context.database.read() as connection:
        return load_window(
            connection, context.contracts, rule(context, "accuracy-drop"), champion(context), context.clock()
        )


def test_the_window_holds_the_champions_answers_of_its_length_only(world: AppContext) -> None:
    tick(world, hours=2)
    now = world.clock()
    inside = recorded(world.database, prediction(now - timedelta(hours=1)), prediction(now - timedelta(seconds=1)))
    recorded(world.database, prediction(now - timedelta(hours=1, seconds=1)), prediction(now))
    recorded(world.database, prediction(now - timedelta(minutes=1), version=2))
    found = window(world)
    assert [row.prediction_id for row in found.rows] == inside
    assert (found.start, found.end, found.model, found.version) == (now - timedelta(hours=1), now, "digits", 1)


def test_the_most_trusted_label_is_the_truth_of_a_row(world: AppContext) -> None:
    [key, bare] = recorded(world.database, prediction(START), prediction(START))
    labels = [
        label_records.SubmittedLabel(key, "4", "correction", "a", START),
        label_records.SubmittedLabel(key, "5", "audit", "b", START),
        label_records.SubmittedLabel(key, "6", "delayed", "c", START + timedelta(hours=1)),
    ]
    with world.database.write() as connection:
        label_records.insert_labels(connection, labels, START)
    tick(world, minutes=1)
    truths = {row.prediction_id: (row.truth, row.truth_source) for row in window(world).rows}
    assert truths == {key: ("5", "audit"), bare: (None, None)}


def test_a_version_without_baselines_has_an_empty_one(world: AppContext) -> None:
    with world.database.write() as connection:
        made = promotion_history.append(
            connection,
            model_name="digits",
            expected=1,
            to_version=2,
            kind="promote",
            now=START,
            actor="me",
            reason="r",
            fence=9,
        )
    with world.database.read() as connection:
        assert load_baseline(connection, made) == Baseline(0, 0)


def test_the_baseline_is_that_of_promotion_for_each_class_of_hosts(world: AppContext) -> None:
    with world.database.write() as connection:
        for host, p95_ms, calls in (("fast", 2.0, 300), ("slow", 10.0, 200), ("middle", 9.0, 400)):
            numbers = {"p95_ms": p95_ms, "calls": calls}
            evaluations.store_baseline(connection, "digits", 1, "latency", host, numbers, START)
    with world.database.read() as connection:
        assert load_baseline(connection, champion(world)) == Baseline(
            990, 1000, {"fast": HostLatency(2.0, 300), "slow": HostLatency(10.0, 200), "middle": HostLatency(9.0, 400)}
        )


def report(context: AppContext, identity: str) -> Path:
    return report_path(context, rule(context, "accuracy-drop"), identity)


def test_a_report_is_named_after_its_rule_and_evaluation(world: AppContext) -> None:
    path = report(world, "an-id")
    assert path == (world.settings.home / "reports" / "accuracy-drop-an-id.html").resolve()
    assert not path.exists()


def test_the_images_of_one_request_are_one_latency(world: AppContext) -> None:
    many = [prediction(latency_ms=9.0) for _ in range(3)]
    together = [replace(row, prediction=replace(row.prediction, request_id="one")) for row in many]
    recorded(world.database, *together, prediction(latency_ms=2.0))
    tick(world, minutes=1)
    assert sorted(row.latency_ms for row in window(world).rows if row.latency_ms is not None) == [2.0, 9.0]


def test_the_oldest_reports_go_but_none_that_an_open_alert_rests_on(world: AppContext, settings: Settings) -> None:
    for age, name in enumerate(("newest", "second", "third", "fourth", "needed")):
        path = report(world, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")
        os.utime(path, (1e9 - age, 1e9 - age))
    with world.database.write() as connection:
        made = Evaluation("e", "accuracy-drop", START, START, "digits", 1, START, START, "breach", [], str(path), "me")
        evaluations.add(connection, made)
        alert = Alert("a", "accuracy-drop", "", "digits", 1, "critical", "firing", START, START)
        alert_records.save(connection, alert, "it dropped", "e")
    few = world.replace(settings=settings.model_copy(update={"reports_kept": 2}))
    assert prune_reports(few) == 2
    left = sorted(kept.stem.removeprefix("accuracy-drop-") for kept in path.parent.iterdir())
    assert left == ["needed", "newest", "second"]
