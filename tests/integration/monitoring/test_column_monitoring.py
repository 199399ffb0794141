"""Rules about columns, from recorded rows to alerts."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.host.clock_steps import slot_at
from mlplatform.monitoring.backtest.backtest import run_backtest
from mlplatform.monitoring.drift_report import write_drift_report
from mlplatform.monitoring.evaluate import evaluate
from monitors.windows.window import Window
from registry.model_contract import TableInputs
from tests.support.monitoring_world import all_alerts, notices, promote, rule, tick, with_rules
from tests.support.platform_world import START
from tests.support.table_world import COLUMNS, CONTRACT, answer_rows, customers, profiled_columns, promote_table

HEAD = """\
version: 1
model: digits
schedule: {every: 1h}
channels:
  events: {type: webhook, url: "http://events.test/in", secret: whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw==}
rules:
  - {name: gaps, metric: column_missing, above: 1 %, window: 6h, min_samples: 100, notify: [events]}
  - {name: unseen, metric: column_unseen, above: 1 %, window: 6h, min_samples: 100}
  - {name: plans, metric: column_unseen, column: plan, above: 1 %, window: 6h, min_samples: 100}
  - {name: range, metric: column_range, above: 1 %, window: 6h, min_samples: 100}
  - {name: skew, metric: column_skew, above: 10 %, window: 6h, min_samples: 100}
  - {name: drift, metric: column_drift, above: 10 %, window: 6h, reference: 1d, min_samples: 100,
     false_alarms: 1 per 90d}
"""
HOUR = timedelta(hours=1)


@pytest.fixture
def watched(context: AppContext) -> AppContext:
    """A champion of a table, whose rules look at the last six hours."""
    promote_table(with_rules(context, HEAD))
    return context


def evaluated(context: AppContext, name: str) -> evaluations.Evaluation:
    found = evaluate(context, rule(context, name), context.clock())
    assert found is not None
    tick(context, seconds=1)
    return found


def states(context: AppContext, name: str) -> dict[str, str]:
    return {finding["key"]: finding["state"] for finding in evaluated(context, name).findings}


def finding_of(context: AppContext, name: str, key: str = "") -> dict[str, Any]:
    return next(finding for finding in evaluated(context, name).findings if finding["key"] == key)


@pytest.mark.both_databases
def test_gaps_and_unknown_plans_fire_from_the_first_hour_on_and_end_when_they_do(watched: AppContext) -> None:
    assert states(watched, "gaps") == {"": "no-data"}
    answer_rows(watched, customers(200, 1), watched.clock())
    for name, columns in (
        ("gaps", {"age", "plan"}),
        ("unseen", {"plan"}),
        ("range", {"age"}),
        ("skew", {"age", "plan"}),
    ):
        assert states(watched, name) == dict.fromkeys(columns, "ok"), name
    answer_rows(watched, customers(300, 2, gaps=0.2, new_plan=0.1), watched.clock(), instance="two")
    assert states(watched, "gaps") == {"age": "breach", "plan": "ok"}
    assert states(watched, "plans") == {"plan": "breach"}
    assert {(alert.rule, alert.key, alert.state) for alert in all_alerts(watched)} == {
        ("gaps", "age", "firing"),
        ("plans", "plan", "firing"),
    }
    [notice] = notices(watched)
    assert notice.payload["body"]["data"]["title"] == "firing: gaps (column age) · digits v1"
    tick(watched, hours=8)
    answer_rows(watched, customers(400, 3), watched.clock())
    assert states(watched, "gaps") == {"age": "ok", "plan": "ok"}
    assert {alert.state for alert in all_alerts(watched) if alert.rule == "gaps"} == {"resolved"}


def test_what_is_computed_in_another_way_is_skew_at_once(watched: AppContext) -> None:
    answer_rows(watched, customers(400, 4, older=0.3), watched.clock())
    finding = finding_of(watched, "skew", "age")
    assert finding["state"] == "breach"
    assert finding["value"] == pytest.approx(0.3, abs=0.06)
    assert "rows that version 1 was made with" in finding["sentence"]
    assert "then" in finding["sentence"]


@pytest.mark.both_databases
def test_drift_compares_whole_hours_with_the_same_hours_of_the_first_days(watched: AppContext) -> None:
    """At night customers are older, every night: that is no drift. Then they are older by day."""
    for hour in range(24):
        is_night = START.hour + hour >= 24
        answer_rows(watched, customers(100, hour, older=0.5 if is_night else 0.0), START + hour * HOUR)
    tick(watched, hours=23)
    assert finding_of(watched, "drift")["state"] == "insufficient"
    for hour in range(24, 42):
        is_night = 24 <= START.hour + hour - 24 < 36
        answer_rows(watched, customers(100, hour, older=0.5 if is_night else 0.0), START + hour * HOUR)
    tick(watched, hours=19, minutes=5)
    night = finding_of(watched, "drift", "age")
    assert night["state"] == "ok", night["sentence"]
    assert "rows in the same hours of its first 1d" in night["sentence"]
    for hour in range(48, 54):
        answer_rows(watched, customers(100, hour, older=0.5), START + hour * HOUR)
    tick(watched, hours=12)
    drifted = finding_of(watched, "drift", "age")
    assert drifted["state"] == "breach", drifted["sentence"]
    assert states(watched, "drift")["plan"] == "ok"


def test_rows_of_the_running_hour_are_no_drift_yet(watched: AppContext) -> None:
    for hour in range(30):
        answer_rows(watched, customers(50, hour), START + hour * HOUR)
    tick(watched, hours=30, minutes=30)
    before = finding_of(watched, "drift", "age")["n"]
    answer_rows(watched, customers(500, 99, older=0.9), watched.clock())
    after = finding_of(watched, "drift", "age")
    assert (after["n"], after["state"]) == (before, "ok")


def test_another_version_is_held_against_its_own_rows(watched: AppContext) -> None:
    answer_rows(watched, customers(400, 5, gaps=0.3), watched.clock())
    assert states(watched, "gaps")["age"] == "breach"
    sparse = customers(1_000, 6, gaps=0.3)
    promote_table(watched, 2, replace(CONTRACT, inputs=TableInputs(profiled_columns(sparse))))
    answer_rows(watched, customers(400, 7, gaps=0.3), watched.clock(), version=2)
    age = finding_of(watched, "gaps", "age")
    assert age["state"] != "breach"
    assert "of the 1,000 rows that version 2 was made with" in age["sentence"]


def test_a_version_that_noted_no_profile_is_watched_for_categories_and_ranges_alone(context: AppContext) -> None:
    bare = tuple(replace(column, profile=None) for column in COLUMNS)
    promote_table(with_rules(context, HEAD), 1, replace(CONTRACT, inputs=TableInputs(bare)))
    answer_rows(context, customers(400, 8, gaps=0.2), context.clock())
    for name in ("gaps", "skew"):  # what was always missing, or always spread like that, is not known
        assert states(context, name) == {"": "no-data"}
    assert states(context, "unseen") == {"plan": "ok"}
    assert states(context, "range") == {"age": "ok"}


def test_a_model_of_pictures_has_no_columns(context: AppContext) -> None:
    promote(with_rules(context, HEAD))
    assert "takes no table" in finding_of(context, "gaps")["sentence"]


def test_a_backtest_finds_what_the_watcher_found_once_the_hour_was_over(watched: AppContext) -> None:
    """Gaps from the 30th hour to the 40th, evaluated at half past each hour."""
    for hour in range(48):
        answer_rows(watched, customers(60, hour, gaps=0.3 if 30 <= hour < 40 else 0.0), START + hour * HOUR)
        tick(watched, minutes=30)
        for name in ("gaps", "drift"):
            evaluate(watched, rule(watched, name), slot_at(watched.clock(), HOUR))
        tick(watched, minutes=30)
    result = run_backtest(watched, watched.rules, timedelta(days=3))
    summaries = {summary.rule: summary for summary in result.rules}
    assert {name: summary.not_replayed for name, summary in summaries.items()} == dict.fromkeys(summaries)
    [replayed] = [alarm for alarm in result.alarms if alarm.rule == "gaps"]
    [fact] = [alarm for alarm in result.in_fact if alarm.rule == "gaps"]
    assert (replayed.key, fact.key) == ("age", "age")
    assert timedelta(0) <= replayed.fired_at - fact.fired_at <= 2 * HOUR
    assert (replayed.ended, fact.ended) == ("resolved", "resolved")
    assert [alarm.key for alarm in result.alarms if alarm.rule == "drift"] == [
        alarm.key for alarm in result.in_fact if alarm.rule == "drift"
    ]
    assert any("by the hour" in note for note in result.notes)


def test_a_backtest_of_pictures_replays_no_columns(context: AppContext) -> None:
    promote(with_rules(context, HEAD))
    tick(context, hours=5)
    result = run_backtest(context, context.rules, timedelta(days=1))
    assert result.alarms == ()
    assert not any("by the hour" in note for note in result.notes)


@pytest.mark.slow
def test_the_report_of_drift_shows_each_column_beside_the_first_days(watched: AppContext, tmp_path: Path) -> None:
    for hour in range(48):
        answer_rows(watched, customers(20, hour, older=0.9 if hour >= 40 else 0.0), START + hour * HOUR)
    tick(watched, hours=49)

    def written(name: str, path: Path) -> bool:
        made = rule(watched, name)
        seen = Window("digits", 1, ("no", "yes"), watched.clock() - made.window, watched.clock(), ())
        return write_drift_report(watched, made, seen, path)

    assert written("drift", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {"age", "plan"} <= set(re.findall(r"\b(?:age|plan)\b", text))
    assert not written("skew", tmp_path / "none.html")  # its first week is not over
    assert not (tmp_path / "none.html").exists()
