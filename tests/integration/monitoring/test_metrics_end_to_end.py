"""Rules on slices, groups, rows, requests, volume and waits, from the store to the alert."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.host.clock_steps import slot_at
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.row_inputs import load_window
from mlplatform.monitoring.rule_inputs import load_counts
from mlplatform.operations.doctor.diagnostics import run_checks as examined
from mlplatform.predictions import prediction_counts, sampling_plans
from mlplatform.promotion import promotion_history
from monitors.decisions.detectors.label_reading import source_windows
from monitors.rules.alerts_config import Rule
from monitors.statistics.review_sampling import SamplingPlan
from tests.support.monitoring_world import all_alerts, notices, promote, rule, tick, with_rules
from tests.support.platform_world import prediction, recorded

OWN = "python:tests.support.blocking_metrics"
HEAD = """\
version: 1
model: digits
schedule: {every: 1m}
channels:
  events: {type: webhook, url: "http://events.test/in", secret: whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw==}
rules:
"""
RULES = {
    "drop": "metric: accuracy_drop, above: 0.5 points, slice: {scanner: flatbed}",
    "budget": "metric: accuracy_drop, above: 0.5 points, false_alarms: 1 per 90d, slice: {scanner: flatbed}",
    "class": "metric: class_error, above: 10 %, slice: {scanner: flatbed}",
    "gap": "metric: group_gap, above: 3 points, by: scanner, notify: [events]",
    "clients": "metric: group_gap, above: 3 points, by: client",
    "f1": "metric: macro_f1, below: 98 %, slice: {scanner: flatbed}",
    "calibration": "metric: calibration_error, above: 5 %",
    "errors": "metric: error_rate, above: 1 %",
    "violations": "metric: schema_violations, above: 2 %",
    "volume": "metric: volume, below: 100 answers",
    "lag": "metric: label_lag, above: 10m",
    "own": f"metric: '{OWN}:share_read_as_five', above: 0.25",
    "all": f"metric: '{OWN}:share_read_as_five', above: 0.25, over: answers, slice: {{scanner: flatbed}}",
    "broken": f"metric: '{OWN}:broken', above: 0.25",
    "absent": "metric: 'python:nowhere.to_be:found', above: 0.25",
    "slow": f"metric: '{OWN}:waits', above: 0.25",
}


@pytest.fixture
def watched(context: AppContext) -> AppContext:
    """A champion whose every kind of rule looks at the last hour."""
    lines = [
        f"  - {{name: {name}, {written}, window: 1h{'' if name == 'volume' else ', min_samples: 20'}}}\n"
        for name, written in RULES.items()
    ]
    promote(with_rules(context, HEAD + "".join(lines)))
    return context


def sent(context: AppContext, right: int, wrong: int, scanner: str, *, labelled: bool = True) -> list[str]:
    """Answers to pictures of a 3 that came with a scanner's name, each labelled now."""
    now = context.clock()
    rows = [prediction(now, label=label) for label in ["3"] * right + ["5"] * wrong]
    tagged = [
        replace(row, prediction=replace(row.prediction, tags={"scanner": scanner}, client_id=f"{scanner} desk"))
        for row in rows
    ]
    ids = recorded(context.database, *tagged)
    if labelled:
        with context.database.write() as connection:
            label_records.insert_labels(
                connection, [label_records.SubmittedLabel(key, "3", "audit", "ada", now) for key in ids], now
            )
    tick(context, seconds=1)
    return ids


def evaluated(context: AppContext, name: str) -> evaluations.Evaluation:
    """What that rule finds now."""
    found = evaluate(context, rule(context, name), slot_at(context.clock(), timedelta(seconds=1)))
    assert found is not None
    tick(context, seconds=1)
    return found


def found(context: AppContext, name: str) -> dict[str, str]:
    """The state of each of the rule's findings."""
    return {finding["key"]: finding["state"] for finding in evaluated(context, name).findings}


@pytest.mark.both_databases
@pytest.mark.parametrize("name", ["drop", "budget", "f1"])
def test_a_rule_on_a_slice_judges_only_its_answers(watched: AppContext, name: str) -> None:
    sent(watched, 0, 200, "phone")
    sent(watched, 100, 0, "flatbed")
    assert found(watched, name) == {"": "ok"}
    sent(watched, 10, 60, "flatbed")
    assert found(watched, name) == {"": "breach"}


def test_a_class_is_judged_within_its_slice(watched: AppContext) -> None:
    sent(watched, 0, 100, "phone")
    assert found(watched, "class") == {"": "no-data"}
    sent(watched, 100, 0, "flatbed")
    assert found(watched, "class") == {"3": "ok"}


def test_a_slice_without_labels_says_so(watched: AppContext) -> None:
    sent(watched, 100, 0, "phone")
    [finding] = evaluated(watched, "drop").findings
    assert finding["sentence"].endswith("has a label from audit or delayed with scanner flatbed.")


@pytest.mark.both_databases
def test_the_group_that_is_read_worse_is_blamed_and_its_own_errors_are_told(watched: AppContext) -> None:
    sent(watched, 200, 30, "flatbed")
    sent(watched, 300, 0, "phone")
    assert found(watched, "gap") == {"flatbed": "breach", "phone": "ok"}
    assert found(watched, "clients") == {"flatbed desk": "breach", "phone desk": "ok"}
    [alert] = [each for each in all_alerts(watched) if each.rule == "gap"]
    assert (alert.key, alert.state) == ("flatbed", "firing")
    [notice] = notices(watched)
    body = notice.payload["body"]["data"]
    assert body["title"] == "firing: gap (scanner flatbed) · digits v1"
    assert body["confused"] == ["3 read as 5, 30 of 30 errors"]
    assert len(body["worst_errors"]) == 1  # the same picture is shown once


def test_a_group_without_errors_of_its_own_is_told_of_none(watched: AppContext) -> None:
    sent(watched, 150, 30, "flatbed")
    sent(watched, 300, 40, "phone")
    evaluated(watched, "gap")
    confused = [each.payload["body"]["data"]["confused"] for each in notices(watched)]
    assert confused in ([], [["3 read as 5, 30 of 30 errors"]])


def test_calibration_is_judged_by_the_confidence_of_each_answer(watched: AppContext) -> None:
    sent(watched, 90, 10, "phone")  # all are given with 0.9
    assert found(watched, "calibration") == {"": "ok"}
    sent(watched, 0, 100, "phone")
    assert found(watched, "calibration") == {"": "breach"}


@pytest.mark.both_databases
def test_requests_are_judged_as_the_servers_counted_them(watched: AppContext) -> None:
    assert found(watched, "errors") == {"": "no-data"}
    minute = prediction_counts.minute_index(watched.clock())
    with watched.database.write() as connection:
        prediction_counts.record_request_counts(
            connection, "one", "digits", {(1, minute): {"200": 900, "500": 40, "422": 5}}
        )
        prediction_counts.record_request_counts(
            connection, "two", "digits", {(prediction_counts.NO_MODEL_VERSION, minute): {"503": 5, "422": 95}}
        )
    [finding] = evaluated(watched, "errors").findings
    assert (finding["state"], finding["n"]) == ("breach", 1045)
    assert finding["value"] == pytest.approx(45 / 1045)
    assert found(watched, "violations") == {"": "breach"}


def test_a_version_is_not_blamed_for_few_answers_before_it_has_served_for_the_window(watched: AppContext) -> None:
    assert found(watched, "volume") == {"": "insufficient"}
    tick(watched, minutes=61)
    assert found(watched, "volume") == {"": "breach"}
    sent(watched, 120, 0, "phone", labelled=False)
    assert found(watched, "volume") == {"": "ok"}


def test_labels_that_do_not_come_are_late(watched: AppContext) -> None:
    with watched.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(uniform=1.0).to_json(), watched.clock())
    tick(watched, seconds=1)
    sent(watched, 40, 0, "phone")
    waiting = sent(watched, 40, 0, "phone", labelled=False)
    assert found(watched, "lag") == {"": "no-data"}  # too young to be late
    tick(watched, minutes=20)
    assert found(watched, "lag") == {"": "breach"}
    assert len(waiting) == 40


def test_a_function_of_ones_own_is_judged_over_labelled_answers_or_over_all(watched: AppContext) -> None:
    sent(watched, 100, 0, "flatbed", labelled=False)
    sent(watched, 10, 40, "flatbed")
    sent(watched, 0, 50, "phone", labelled=False)
    [labelled] = evaluated(watched, "own").findings
    assert (labelled["n"], labelled["value"], labelled["state"]) == (50, 0.8, "breach")
    [every] = evaluated(watched, "all").findings
    assert (every["n"], every["state"]) == (150, "suspect")
    assert every["value"] == pytest.approx(40 / 150)


@pytest.mark.parametrize(("name", "why"), [("broken", "KeyError"), ("absent", "PYTHONPATH")])
def test_a_function_that_fails_is_a_finding_and_a_line_in_the_log(
    watched: AppContext, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    sent(watched, 100, 0, "phone")
    with caplog.at_level(logging.ERROR):
        evaluation = evaluated(watched, name)
    assert evaluation.state == "no-data"
    assert why in evaluation.findings[0]["sentence"]
    assert f"rule {name} decides nothing" in caplog.text
    assert found(watched, "gap") == {"phone": "insufficient"}  # and the others go on


def test_a_function_that_takes_its_time_holds_no_transaction(watched: AppContext) -> None:
    from tests.support import blocking_metrics

    blocking_metrics.ENTERED.clear()
    blocking_metrics.GO_ON.clear()
    sent(watched, 100, 0, "phone")
    slow = threading.Thread(target=lambda: evaluate(watched, rule(watched, "slow"), watched.clock()))
    slow.start()
    try:
        assert blocking_metrics.ENTERED.wait(20)
        assert found(watched, "drop") == {"": "no-data"}  # another rule writes meanwhile
    finally:
        blocking_metrics.GO_ON.set()
        slow.join(20)
    assert not slow.is_alive()


def test_what_was_measured_of_the_champion_before_is_not_held_against_the_new_one(watched: AppContext) -> None:
    from tests.support import blocking_metrics

    blocking_metrics.ENTERED.clear()
    blocking_metrics.GO_ON.clear()
    sent(watched, 100, 0, "phone")
    results: list[evaluations.Evaluation | None] = []
    slow = threading.Thread(target=lambda: results.append(evaluate(watched, rule(watched, "slow"), watched.clock())))
    slow.start()
    assert blocking_metrics.ENTERED.wait(20)
    promote(watched, version=2)
    blocking_metrics.GO_ON.set()
    slow.join(20)
    assert results == [None]


def test_evidently_measures_the_slice_of_a_sliced_rule(watched: AppContext) -> None:
    sent(watched, 3, 0, "phone")
    sent(watched, 2, 0, "flatbed")

    def tags(name: str) -> list[str]:
        with watched.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, "digits")
            assert champion is not None
            window = load_window(connection, watched.contracts, rule(watched, name), champion, watched.clock())
        return [row.tags["scanner"] for row in window.rows]

    assert tags("drop") == ["flatbed"] * 2
    assert sorted(tags("gap")) == ["flatbed"] * 2 + ["phone"] * 3


@pytest.mark.both_databases
def test_a_tally_holds_only_what_its_rule_needs(watched: AppContext) -> None:
    sent(watched, 20, 5, "phone")

    def counted(which: Callable[[Rule], bool]) -> list[bool]:
        with watched.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, "digits")
            assert champion is not None
            made = next(each for each in watched.rules.rules if which(each))
            windows = source_windows(made, None, watched.clock())
            tally = load_counts(connection, tuple("0123456789"), made, champion, watched.clock(), windows)
        return [bool(each) for each in (tally.labels, tally.latency, tally.groups, tally.requests, tally.lags)]

    assert counted(lambda each: each.name == "volume") == [False] * 5
    assert counted(lambda each: each.name == "gap")[2]
    assert counted(lambda each: each.name == "calibration")[0]


def test_the_doctor_names_a_function_that_is_not_there(watched: AppContext) -> None:
    lines = {(each.mark, each.detail) for each in examined(watched.settings) if each.subject == "rules"}
    assert any(mark == "problem" and "module 'nowhere.to_be' cannot be found" in detail for mark, detail in lines)
    assert ("ok", "rule own: tests.support.blocking_metrics:share_read_as_five can be called") in lines
