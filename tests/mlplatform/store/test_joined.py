"""Predictions with their labels: window boundaries, the label that counts, images once each."""

from dataclasses import replace
from datetime import timedelta

from mlplatform.clock import new_id
from mlplatform.serve.decode import from_png
from mlplatform.store import feedback, joined
from mlplatform.store.database import Database
from mlplatform.store.feedback import Label
from mlplatform.store.predictions import Recorded
from mlplatform.store.truths import Source
from tests.mlplatform.conftest import START, picture, prediction, recorded

HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


def label(database: Database, key: str, said: str, source: Source = "audit", minute: int = 0, who: str = "ada") -> str:
    given = Label(key, said, source, who, START + timedelta(minutes=minute))
    with database.write() as connection:
        return feedback.add(connection, [given], START)[0].id


def ids(database: Database, name: str = "digits", version: int = 1) -> list[str]:
    with database.read() as connection:
        return [row.prediction_id for row in joined.window(connection, name, version, START, START + HOUR)]


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
        first, second = joined.window(connection, "digits", 1, START, START + HOUR)
    assert (first.prediction_id, first.label, first.confidence, first.latency_ms) == (labelled, "3", 0.9, 2.0)
    assert first.truth is not None
    assert (first.truth.id, first.truth.label, first.truth.source) == (truth, "2", "audit")
    assert (second.prediction_id, second.truth) == (bare, None)


def test_superseded_and_late_labels_do_not_count(database: Database) -> None:
    [key] = recorded(database, prediction())
    for minute, said in ((2, "4"), (5, "6"), (1, "7")):
        label(database, key, said, minute=minute)
    with database.read() as connection:
        [row] = joined.window(connection, "digits", 1, START, START + HOUR)
    assert row.truth is not None
    assert row.truth.label == "6"


def test_a_window_over_its_limit_keeps_the_newest_rows_and_the_same_ones_each_time(database: Database) -> None:
    recorded(database, *(prediction(START + HOUR / 60 * (n // 5), prediction_id=f"p{n:02}") for n in range(20)))
    for limit in (7, 10, 20, 21):
        with database.read() as connection:
            found = joined.window(connection, "digits", 1, START, START + HOUR, limit)
        assert [row.prediction_id for row in found] == [f"p{n:02}" for n in range(max(0, 20 - limit), 20)]


def test_an_image_answered_and_labelled_twice_is_learnt_from_once(database: Database) -> None:
    first, second, other = recorded(database, prediction(seed=1), prediction(seed=1, version=2), prediction(seed=2))
    label(database, first, "1", "correction", minute=5)
    trusted = label(database, second, "2", "audit")
    last = label(database, other, "9", "delayed")
    with database.read() as connection:
        found = list(joined.labelled_images(connection, "digits"))
        assert list(joined.labelled_images(connection, "letters")) == []
        assert joined.labels_count(connection, "digits") == 3
        assert joined.labels_count(connection, "letters") == 0
    assert [(item.label, item.feedback_id) for item in found] == [("2", trusted), ("9", last)]
    assert (from_png(found[0].png) == picture(1)).all()


def test_labelled_images_come_in_order_of_arrival_past_one_chunk(database: Database) -> None:
    many = joined.CHUNK + 3
    one = prediction()
    rows = [replace(one.prediction, id=new_id(), image_hash=f"{n:064}") for n in range(many)]
    keys = recorded(database, *(Recorded(row, one.png) for row in rows))
    with database.write() as connection:
        taken = feedback.add(connection, [Label(key, "1", "audit", "ada", START) for key in keys], START)
    with database.read() as connection:
        found = list(joined.labelled_images(connection, "digits"))
    assert [item.feedback_id for item in found] == [item.id for item in taken]
    assert len({item.image_hash for item in found}) == many


def test_a_label_counts_once_however_often_it_was_changed(database: Database) -> None:
    [key] = recorded(database, prediction())
    for minute, said in enumerate("456"):
        label(database, key, said, minute=minute)
    label(database, key, "4", who="bob")
    with database.read() as connection:
        assert joined.labels_count(connection, "digits") == 1


def test_suspicious_are_the_unlabelled_that_may_hide_an_error_about_the_class(database: Database) -> None:
    sure, doubtful, labelled, misread, _ = recorded(
        database,
        prediction(seed=1, confidence=0.9),
        prediction(seed=2, confidence=0.4),
        prediction(seed=3, confidence=0.3),
        prediction(seed=4, label="8", probabilities={"8": 0.5, "3": 0.45}),
        prediction(seed=5, confidence=0.1, version=2),
    )
    label(database, labelled, "3")
    with database.read() as connection:
        found = joined.suspicious(connection, "digits", 1, "0123456789", "3", 10)
        assert [key for key, _ in found] == [doubtful, misread, sure]
        assert [round(doubt, 3) for _, doubt in found] == [0.6, 0.45, 0.1]
        assert joined.suspicious(connection, "digits", 1, "0123456789", "3", 1) == found[:1]
