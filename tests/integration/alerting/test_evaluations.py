"""Evaluations: one per rule and slot whoever writes it; baselines: the first stays."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from mlplatform.alerting import evaluations
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.store.database import Database
from tests.support.platform_world import START
from tests.support.store_rows import evaluation, together, writing

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)


def add(database: Database, *rows: Evaluation) -> None:
    with database.write() as connection:
        for row in rows:
            evaluations.add(connection, row)


def test_an_evaluation_comes_back_as_it_was_added(database: Database) -> None:
    row = evaluation()
    add(database, row)
    with database.read() as connection:
        assert evaluations.find(connection, row.id) == row
        assert evaluations.was_evaluated(connection, row.model_name, row.rule, row.slot)
        assert not evaluations.was_evaluated(connection, row.model_name, row.rule, row.slot + MINUTE)
        assert not evaluations.was_evaluated(connection, row.model_name, "other", row.slot)
        assert not evaluations.was_evaluated(connection, "letters", row.rule, row.slot), (
            "each model has slots of its own"
        )


def test_a_slot_evaluated_before_is_a_conflict_and_keeps_the_first(database: Database) -> None:
    first = evaluation(state="ok")
    add(database, first)
    with pytest.raises(ConflictError, match="already evaluated for slot"):
        add(database, evaluation(state="breach"))
    add(database, evaluation(START + MINUTE), evaluation(rule="other"))
    with database.read() as connection:
        assert evaluations.find(connection, first.id).state == "ok"


def test_of_watchers_that_evaluate_a_slot_at_once_one_writes(database: Database) -> None:
    rows = [replace(evaluation(), evaluated_by=f"host:{n}") for n in range(5)]
    results = together(*(writing(database, partial(evaluations.add, evaluation=row)) for row in rows))
    assert [result for result in results if result is None] == [None]
    assert {type(result) for result in results} == {type(None), ConflictError}
    with database.read() as connection:
        assert len(evaluations.recent(connection)) == 1


def test_a_slot_is_the_same_in_every_zone(database: Database) -> None:
    add(database, evaluation())
    shifted = START.astimezone(tz=None)
    with pytest.raises(ConflictError):
        add(database, evaluation(shifted))


def test_recent_comes_newest_first_of_all_rules_or_one(database: Database) -> None:
    rows = [evaluation(START + n * MINUTE, rule=rule) for n, rule in enumerate(("a", "b", "a"))]
    add(database, *rows)
    with database.read() as connection:
        assert evaluations.recent(connection) == rows[::-1]
        assert evaluations.recent(connection, limit=2) == rows[:0:-1]
        assert evaluations.recent(connection, rule="a") == [rows[2], rows[0]]


def test_an_unknown_evaluation_is_named(database: Database) -> None:
    with database.read() as connection:
        for wrong in ("nosuch", "a\0b"):
            with pytest.raises(NotFoundError, match="is not known"):
                evaluations.find(connection, wrong)


def test_the_first_measurement_of_a_baseline_stays(database: Database) -> None:
    def pin(kind: str, host: str, p95: float, version: int = 1) -> bool:
        with database.write() as connection:
            return evaluations.store_baseline(connection, "digits", version, kind, host, {"p95_ms": p95}, START)

    assert pin("latency", "8 cores", 2.0)
    assert not pin("latency", "8 cores", 9.0)
    assert pin("latency", "2 cores", 5.0)
    assert pin("accuracy", "", 0.9)
    assert pin("latency", "8 cores", 1.0, version=2)
    with database.read() as connection:
        assert evaluations.load_baselines(connection, "digits", 1) == {
            "latency": {"8 cores": {"p95_ms": 2.0}, "2 cores": {"p95_ms": 5.0}},
            "accuracy": {"": {"p95_ms": 0.9}},
        }
        assert evaluations.load_baselines(connection, "digits", 3) == {}


def test_the_newest_state_of_each_rule_is_found_however_rarely_it_is_evaluated(database: Database) -> None:
    add(database, evaluation(rule="rare", state="breach"))
    add(database, *(evaluation(START + n * MINUTE, rule="often", state="ok") for n in range(1, 150)))
    add(database, replace(evaluation(rule="other", state="breach"), model_version=2))
    with database.read() as connection:
        found = evaluations.latest_states(connection, "digits", 1, ["rare", "often", "other", "unknown"])
    assert found == {"rare": "breach", "often": "ok"}


def test_the_newest_of_each_rule_is_found_behind_many_others(database: Database) -> None:
    hourly = evaluation(START - 60 * MINUTE, rule="hourly", state="breach")
    add(database, hourly, *(evaluation(START + n * MINUTE) for n in range(120)), replace(evaluation(), model_name="x"))
    with database.read() as connection:
        found = evaluations.latest_per_rule(connection, hourly.model_name)
    assert {(each.rule, each.state) for each in found} >= {("hourly", "breach")}
    assert {each.rule: each.slot for each in found}["accuracy-drop"] == START + 119 * MINUTE
    assert len(found) == 2
