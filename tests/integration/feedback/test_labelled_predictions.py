"""Predictions with their labels: window boundaries and the label that counts."""

from datetime import timedelta

import pytest

from mlplatform.feedback import label_records, labelled_predictions, outcomes
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.store.database import Database
from tests.support.platform_world import START, prediction, recorded

pytestmark = pytest.mark.both_databases

HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


def label(
    database: Database, key: str, said: str, source: LabelSource = "audit", minute: int = 0, who: str = "ada"
) -> str:
    given = SubmittedLabel(key, said, source, who, START + timedelta(minutes=minute))
    with database.write() as connection:
        return label_records.insert_labels(connection, [given], START)[0].id


def ids(database: Database, name: str = "digits", version: int = 1) -> list[str]:
    with database.read() as connection:
        return [
            row.prediction_id
            for row in labelled_predictions.load_labelled_predictions(connection, name, version, START, START + HOUR)
        ]


def test_a_window_holds_its_start_and_not_its_end_oldest_first(database: Database) -> None:
    moments = [START + HOUR, START + HOUR - INSTANT, START, START - INSTANT]
    _, last, first, _ = recorded(database, *(prediction(at, seed=seed) for seed, at in enumerate(moments)))
    assert ids(database) == [first, last]


def test_a_window_holds_one_version_of_one_model(database: Database) -> None:
    kept, _ = recorded(database, prediction(version=1), prediction(version=2))
    assert ids(database) == [kept]
    assert ids(database, version=3) == []
    assert ids(database, name="letters") == []


def test_a_row_carries_the_label_that_counts_or_none(database: Database) -> None:
    labelled, bare = recorded(database, prediction(START, seed=1), prediction(START + INSTANT, seed=2))
    label(database, labelled, "1", "correction", minute=9)
    truth = label(database, labelled, "2", "audit")
    with database.read() as connection:
        first, second = labelled_predictions.load_labelled_predictions(connection, "digits", 1, START, START + HOUR)
    assert (first.prediction_id, first.label, first.confidence, first.latency_ms) == (labelled, "3", 0.9, 2.0)
    assert first.truth is not None
    assert (first.truth.id, first.truth.label, first.truth.source) == (truth, "2", "audit")
    assert (second.prediction_id, second.truth) == (bare, None)


def test_superseded_and_late_labels_do_not_count(database: Database) -> None:
    [key] = recorded(database, prediction())
    for minute, said in ((2, "4"), (5, "6"), (1, "7")):
        label(database, key, said, minute=minute)
    with database.read() as connection:
        [row] = labelled_predictions.load_labelled_predictions(connection, "digits", 1, START, START + HOUR)
    assert row.truth is not None
    assert row.truth.label == "6"


def test_a_window_over_its_limit_keeps_the_newest_rows_and_the_same_ones_each_time(database: Database) -> None:
    recorded(database, *(prediction(START + HOUR / 60 * (n // 5), prediction_id=f"p{n:02}") for n in range(20)))
    for limit in (7, 10, 20, 21):
        with database.read() as connection:
            found = labelled_predictions.load_labelled_predictions(connection, "digits", 1, START, START + HOUR, limit)
        assert [row.prediction_id for row in found] == [f"p{n:02}" for n in range(max(0, 20 - limit), 20)]


def test_labels_are_counted_by_prediction_and_model(database: Database) -> None:
    first, second, _ = recorded(database, prediction(seed=1), prediction(seed=1, version=2), prediction(seed=2))
    for key in (first, second):
        label(database, key, "1")
    with database.read() as connection:
        assert outcomes.count_labelled(connection, "digits") == 2
        assert outcomes.count_labelled(connection, "letters") == 0


def test_a_reviewed_row_says_the_reviews_truth_under_the_source_it_amends(database: Database) -> None:
    drawn, picked = recorded(database, prediction(START, seed=1), prediction(START + INSTANT, seed=2))
    label(database, drawn, "5")
    for key in (drawn, picked):
        label(database, key, "8", "review", who="bob")
    with database.read() as connection:
        rows = labelled_predictions.load_labelled_predictions(connection, "digits", 1, START, START + HOUR)
    assert [(row.truth.label, row.truth.source) for row in rows if row.truth] == [("8", "audit"), ("8", "correction")]


def test_a_label_counts_once_however_often_it_was_changed(database: Database) -> None:
    [key] = recorded(database, prediction())
    for minute, said in enumerate("456"):
        label(database, key, said, minute=minute)
    label(database, key, "4", who="bob")
    with database.read() as connection:
        assert outcomes.count_labelled(connection, "digits") == 1
