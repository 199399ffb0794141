"""Tasks: one per alert at most, closed once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.alerting import alert_records
from mlplatform.feedback import label_records
from mlplatform.store import tasks
from mlplatform.store.database import Database
from tests.support.platform_world import START, prediction, recorded
from tests.support.store_rows import alert, saved, together

pytestmark = pytest.mark.both_databases

HOUR = timedelta(hours=1)


def start(
    database: Database, kind: tasks.TaskKind = "label-audit", model: str = "digits", alert: str | None = None
) -> str | None:
    with database.write() as connection:
        return tasks.open_task(connection, kind, model, {"class": "7"}, START, alert)


def test_an_open_task_comes_back_as_it_was_opened(database: Database) -> None:
    made = saved(database)
    key = start(database, alert=made.id)
    with database.read() as connection:
        [task] = tasks.open_tasks(connection, "digits")
    assert (task.id, task.kind, task.alert_id, task.model_name) == (key, "label-audit", made.id, "digits")
    assert (task.state, task.details, task.result) == ("open", {"class": "7"}, None)
    assert (task.at, task.finished_at) == (START, None)


def test_an_alert_opens_one_task_also_after_it_was_closed(database: Database) -> None:
    made = saved(database)
    first = start(database, alert=made.id)
    assert first is not None
    assert start(database, alert=made.id) is None
    with database.write() as connection:
        assert tasks.close_task(connection, first, {}, START)
    assert start(database, alert=made.id) is None


def test_an_alert_that_acts_twice_at_once_opens_one_task(database: Database) -> None:
    made = saved(database)
    results = together(*[lambda: start(database, alert=made.id)] * 5)
    assert sorted(type(result).__name__ for result in results) == ["NoneType"] * 4 + ["str"]


def test_open_tasks_are_of_a_model_and_kind_oldest_first(database: Database) -> None:
    first, second, _ = start(database), start(database, "tune-serving"), start(database, model="letters")
    with database.read() as connection:
        assert [task.id for task in tasks.open_tasks(connection, "digits")] == [first, second]
        assert [task.id for task in tasks.open_tasks(connection, "digits", "tune-serving")] == [second]


def test_of_those_who_close_a_task_at_once_one_writes_the_result(database: Database) -> None:
    key = start(database)
    assert key is not None

    def close(name: int) -> bool:
        with database.write() as connection:
            return tasks.close_task(connection, key, {"threads": name}, START + HOUR)

    results = together(*(lambda name=name: close(name) for name in range(4)))
    assert sorted(result for result in results if isinstance(result, bool)) == [False, False, False, True]
    with database.read() as connection:
        assert tasks.open_tasks(connection, "digits") == []


def test_an_unknown_task_is_not_closed(database: Database) -> None:
    with database.write() as connection:
        assert not tasks.close_task(connection, "nosuch", {}, START)


def test_a_label_audit_is_over_when_its_answers_are_labelled_or_its_alert_has_ended(database: Database) -> None:
    keys = recorded(database, prediction(), prediction())
    first, second = saved(database), saved(database, alert("class-error"))
    for made in (first, second):
        with database.write() as connection:
            details = {"predictions": [{"id": key} for key in keys]}
            tasks.open_task(connection, "label-audit", "digits", details, START, made.id)

    def settle() -> int:
        with database.write() as connection:
            return tasks.close_finished_labelling(connection, "digits", START)

    assert settle() == 0
    with database.write() as connection:
        alert_records.update_state(connection, replace(second, state="resolved"))
    assert settle() == 1
    with database.write() as connection:
        label_records.insert_labels(
            connection, [label_records.SubmittedLabel(key, "3", "correction", "ann", START) for key in keys], START
        )
    assert settle() == 1
    with database.read() as connection:
        assert tasks.open_tasks(connection, "digits") == []


def test_a_label_in_doubt_waits_for_a_review_and_a_bare_answer_for_any_label(database: Database) -> None:
    doubted, bare = recorded(database, prediction(), prediction(seed=1))
    with database.write() as connection:
        details = {"predictions": [{"id": doubted, "feedback": ["f"]}, {"id": bare}]}
        tasks.open_task(connection, "label-audit", "digits", details, START)
        [task] = tasks.open_tasks(connection, "digits")

    def waiting(*given: label_records.SubmittedLabel) -> list[str]:
        with database.write() as connection:
            label_records.insert_labels(connection, given, START)
            return tasks.unlabelled_items(connection, task)

    assert waiting(
        *(label_records.SubmittedLabel(key, "3", "correction", "ann", START) for key in (doubted, bare))
    ) == [doubted]
    assert waiting(label_records.SubmittedLabel(doubted, "3", "review", "bob", START)) == []
    with database.write() as connection:
        assert tasks.close_finished_labelling(connection, "digits", START) == 1
        done = tasks.find(connection, task.id)
    assert (done.state, done.result) == ("done", {"labelled": 2, "of": 2, "alert": None})


def test_the_review_of_a_later_retraining_takes_the_place_of_the_one_before(database: Database) -> None:
    [key] = recorded(database, prediction())
    details = {"predictions": [{"id": key, "feedback": ["f"]}]}

    def review(name: str) -> str | None:
        with database.write() as connection:
            return tasks.open_review_task(connection, "digits", f"label-review/{name}", details, START)

    first = review("one")
    assert first is not None
    assert review("one") is None
    second = review("two")
    with database.read() as connection:
        assert [task.id for task in tasks.open_tasks(connection, "digits")] == [second]
        assert tasks.find(connection, first).result == {"labelled": 0, "of": 1, "replaced_by": second}
