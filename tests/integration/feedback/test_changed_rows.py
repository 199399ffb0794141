"""Rows that one of two versions got right and the other did not."""

import random
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from mlplatform.feedback import label_records
from mlplatform.feedback.changed_rows import SCAN_LIMIT, ChangedRows, changed_rows
from mlplatform.feedback.label_precedence import SubmittedSource
from mlplatform.predictions.shadow_predictions import ShadowPrediction, insert_shadow_predictions
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import outcomes
from tests.support.platform_world import START, prediction, recorded
from tests.support.rollout_rows import over

pytestmark = pytest.mark.both_databases
END = START + timedelta(days=1)
AN_HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def tried(database: Database) -> None:
    """Each of the versions 1 and 2 was tried in the shadow of the other during the first hour."""
    for version in (1, 2):
        over(database, version, 3 - version, START, START + AN_HOUR)


def answered(
    database: Database,
    served: str,
    shadow: str | None,
    *,
    version: int = 1,
    seed: int = 0,
    truth: str = "3",
    source: SubmittedSource = "audit",
    at: datetime = START,
) -> str:
    """One labelled answer of a version, and what the other of 1 and 2 said in the shadow; returns its id."""
    [key] = recorded(database, prediction(at, seed=seed, label=served, version=version))
    with database.write() as connection:
        label_records.insert_labels(connection, [label_records.SubmittedLabel(key, truth, source, "ann", at)], at)
        if shadow is not None:
            insert_shadow_predictions(connection, [ShadowPrediction(key, 3 - version, "t", at, shadow, [], 0.9, 1.0)])
    return key


def changes(database: Database, before: int = 1, after: int = 2) -> ChangedRows:
    with database.read() as connection:
        return changed_rows(connection, "digits", (before, after), START, END)


def test_a_row_is_gained_or_lost_whichever_version_served_it(database: Database) -> None:
    gained = [answered(database, "5", "3", seed=1), answered(database, "3", "5", version=2, seed=2)]
    lost = [answered(database, "3", "5", seed=3), answered(database, "5", "3", version=2, seed=4)]
    for number, (served, shadow) in enumerate((("3", "3"), ("5", "8"), ("5", "5")), start=5):
        answered(database, served, shadow, seed=number)
    found = changes(database)
    assert found.compared == 7
    assert {row.prediction_id for row in found.gained} == set(gained)
    assert {row.prediction_id for row in found.lost} == set(lost)
    assert {(row.truth, row.before, row.after) for row in found.gained} == {("3", "5", "3")}
    turned = changes(database, 2, 1)
    assert {row.prediction_id for row in turned.gained} == set(lost)


def test_an_input_that_was_sent_often_stands_and_counts_once(database: Database) -> None:
    keys = [answered(database, "5", "3", seed=1) for _ in range(3)]
    found = changes(database)
    assert (found.compared, [row.prediction_id for row in found.gained]) == (1, [max(keys)])


def test_the_newest_label_of_an_input_decides_in_which_list_it_stands(database: Database) -> None:
    answered(database, "5", "3", seed=1, truth="3")
    newest = answered(database, "5", "3", seed=1, truth="5", at=START + timedelta(seconds=1))
    found = changes(database)
    assert (found.compared, found.gained, [row.prediction_id for row in found.lost]) == (1, [], [newest])
    answered(database, "5", "5", seed=1, truth="5", at=START + timedelta(seconds=2))
    assert changes(database) == ChangedRows(1, [], [])


def test_corrections_say_nothing_of_which_version_is_better(database: Database) -> None:
    rng = random.Random(1)
    for seed in range(60):
        served, shadow = ("3" if rng.random() < 0.7 else "5" for _ in range(2))
        if served != "3":  # people report errors, and those of the version that served alone
            answered(database, served, shadow, seed=seed, source="correction")
    assert changes(database) == ChangedRows(0, [], [])
    delayed = answered(database, "5", "3", seed=99, source="delayed")
    assert [row.prediction_id for row in changes(database).gained] == [delayed]


def test_an_audit_of_an_answer_that_was_passed_over_says_nothing_unless_its_label_came_by_itself(
    database: Database,
) -> None:
    passed_over, delayed_too = (answered(database, "5", "3", seed=seed) for seed in (1, 2))
    with database.write() as connection:
        late = label_records.SubmittedLabel(delayed_too, "3", "delayed", "", START)
        label_records.insert_labels(connection, [late], START)
        connection.execute(update(outcomes).values(weight=0.0, share=0.0))
    found = changes(database)
    assert (found.compared, [row.prediction_id for row in found.gained]) == (1, [delayed_too])
    assert passed_over != delayed_too


def test_a_trial_before_thousands_of_later_labels_is_found(database: Database) -> None:
    gained = [answered(database, "5", "3", seed=seed) for seed in range(3)]
    _label_many(database, SCAN_LIMIT, START + 2 * AN_HOUR)
    found = changes(database)
    assert (found.compared, {row.prediction_id for row in found.gained}) == (3, set(gained))
    assert not found.is_cut


def test_more_labels_than_are_read_are_told(database: Database) -> None:
    answered(database, "5", "3", seed=1)
    _label_many(database, SCAN_LIMIT, START + timedelta(minutes=1))
    assert changes(database) == ChangedRows(0, [], [], is_cut=True)


def test_answers_of_one_version_alone_are_not_compared(database: Database) -> None:
    answered(database, "5", "3", seed=1)
    assert changes(database, 1, 3) == ChangedRows(0, [], [])


def _label_many(database: Database, count: int, at: datetime) -> None:
    """So many labelled answers of version 1 that no other version was asked about."""
    keys = recorded(database, *(prediction(at, seed=1000, label="3") for _ in range(count)))
    with database.write() as connection:
        labels = [label_records.SubmittedLabel(key, "3", "delayed", "", at) for key in keys]
        label_records.insert_labels(connection, labels, at)
