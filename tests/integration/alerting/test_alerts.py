"""Alerts: one open per rule, key and version; changes appended; silences up to their end."""

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from sqlalchemy.exc import IntegrityError

from mlplatform.alerting import alert_records, evaluations
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.store.database import Database
from monitors.alerts import Alert, AlertChange, AlertState, Silence
from tests.support.platform_world import START
from tests.support.store_rows import alert, evaluation, saved, together

pytestmark = pytest.mark.both_databases

HOUR = timedelta(hours=1)


def found(database: Database, key: str) -> Alert:
    with database.read() as connection:
        return alert_records.find(connection, key)


def opened(database: Database, model: str = "digits") -> list[Alert]:
    with database.write() as connection:
        return alert_records.open_alerts(connection, model, lock=True)


def test_an_alert_comes_back_as_it_was_saved(database: Database) -> None:
    made = saved(database, replace(alert(), fired_at=START, last_notified_at=START, notices=1, low=0.4, high=0.6))
    assert found(database, made.id) == made


def test_saving_again_keeps_one_row_with_the_new_values(database: Database) -> None:
    made = saved(database)
    grown = replace(made, state="acknowledged", since=START + HOUR, notices=3, value=None, n=500)
    saved(database, grown)
    assert found(database, made.id) == grown
    assert opened(database) == [grown]


def test_open_alerts_are_those_not_ended_of_the_model_oldest_first(database: Database) -> None:
    made = [saved(database, alert(state, state=state)) for state in get_args(AlertState)]
    assert opened(database) == made[:3]
    assert [item.is_open for item in made] == [True, True, True, False, False]
    assert opened(database, "letters") == []


def test_a_second_open_alert_of_the_same_kind_is_a_conflict_not_a_lost_row(database: Database) -> None:
    first = saved(database)
    with pytest.raises(ConflictError, match="accuracy-drop"):
        saved(database, alert())
    saved(database, alert(key="7"))
    saved(database, alert(version=2))
    assert found(database, first.id) == first
    assert len(opened(database)) == 3


def test_a_rule_may_open_again_once_its_alert_has_ended(database: Database) -> None:
    first = saved(database)
    saved(database, replace(first, state="resolved"))
    second = saved(database)
    assert opened(database) == [second]


def test_of_evaluations_that_open_an_alert_at_once_one_does(database: Database) -> None:
    results = together(*[lambda: saved(database, alert())] * 4)
    assert sorted(type(result).__name__ for result in results) == ["Alert", *["ConflictError"] * 3]
    assert len(opened(database)) == 1
    with database.read() as connection:
        assert len(evaluations.recent(connection)) == 1


def test_an_alert_needs_the_evaluation_that_saw_it(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        alert_records.save(connection, alert(), "accuracy fell", evaluation().id)


def test_a_state_is_written_alone(database: Database) -> None:
    made = saved(database)
    with database.write() as connection:
        alert_records.update_state(connection, replace(made, state="superseded", since=START + HOUR, notices=9))
    assert found(database, made.id) == replace(made, state="superseded", since=START + HOUR)


def test_changes_come_oldest_first_also_within_one_transaction(database: Database) -> None:
    made = saved(database)
    steps = [
        AlertChange(None, "pending", "low"),
        AlertChange("pending", "firing", "low"),
        AlertChange("firing", "resolved", "ok"),
    ]
    with database.write() as connection:
        for item in steps:
            alert_records.append_transition(connection, made.id, item, "watcher", START)
    with database.read() as connection:
        rows = alert_records.list_transitions(connection, made.id)
        assert alert_records.list_transitions(connection, "nosuch") == []
    assert [(row.from_state, row.to_state, row.reason) for row in rows] == [
        (item.from_state, item.to_state, item.reason) for item in steps
    ]
    assert {row.actor for row in rows} == {"watcher"}


def test_people_see_the_open_ones_or_all_newest_first(database: Database) -> None:
    ended = saved(database, alert("a", state="resolved"))
    pending = saved(database, alert("b", state="pending"))
    firing = saved(database, alert("c"))
    with database.read() as connection:
        assert [row.id for row in alert_records.list_alerts(connection)] == [firing.id, pending.id]
        assert [row.id for row in alert_records.list_alerts(connection, include_closed=True)] == [
            firing.id,
            pending.id,
            ended.id,
        ]
        assert [row.id for row in alert_records.list_alerts(connection, limit=1)] == [firing.id]
        assert alert_records.list_alerts(connection)[0].sentence == "accuracy fell"


def test_an_unknown_alert_points_to_the_list(database: Database) -> None:
    with pytest.raises(NotFoundError, match="alerts list --all"):
        found(database, "nosuch")


def test_a_silence_is_in_force_until_its_end_and_not_at_it(database: Database) -> None:
    with database.write() as connection:
        alert_records.create_silence(connection, Silence("accuracy-*", START + HOUR, reason="deploying"), "ada", START)
        alert_records.create_silence(
            connection, Silence("latency", START + 2 * HOUR, "host-*", "warning"), "ada", START
        )
    with database.read() as connection:
        assert len(alert_records.active_silences(connection, START)) == 2
        assert alert_records.active_silences(connection, START + HOUR) == [
            Silence("latency", START + 2 * HOUR, "host-*", "warning")
        ]
        assert alert_records.active_silences(connection, START + 2 * HOUR) == []
