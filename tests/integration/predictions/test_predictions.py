"""Predictions: written once whatever happens, read back as they were, images shared."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError

from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from mlplatform.predictions import prediction_records
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import feedback
from pipelines.image.grey_png import decode_png
from tests.support.platform_world import START, picture, prediction, recorded
from tests.support.store_rows import count_rows, together, writing

pytestmark = pytest.mark.both_databases


def counted(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return count_rows(connection)


def test_a_prediction_comes_back_as_it_was_written(database: Database) -> None:
    row = prediction()
    recorded(database, row)
    with database.read() as connection:
        assert prediction_records.find(connection, row.prediction.id) == row.prediction
        png = prediction_records.load_image(connection, row.prediction.image_hash)
    assert (decode_png(png) == picture(0)).all()


def test_a_batch_written_twice_changes_nothing(database: Database) -> None:
    rows = [prediction(seed=seed) for seed in range(3)]
    recorded(database, *rows)
    with database.write() as connection:
        assert prediction_records.insert_predictions(connection, rows) == 0
        assert prediction_records.insert_predictions(connection, [*rows, prediction(seed=3)]) == 1
    assert counted(database) == {"predictions": 4, "images": 4, "labels": 0}


def test_an_id_written_again_keeps_the_first_answer(database: Database) -> None:
    first = prediction(label="3")
    recorded(database, first)
    recorded(database, replace(first, prediction=replace(first.prediction, label="8")))
    with database.read() as connection:
        assert prediction_records.find(connection, first.prediction.id).label == "3"


def test_one_image_answered_often_is_kept_once(database: Database) -> None:
    recorded(database, prediction(seed=1), prediction(seed=1), prediction(seed=1))
    assert counted(database) == {"predictions": 3, "images": 1, "labels": 0}


def test_an_empty_batch_writes_nothing(database: Database) -> None:
    assert recorded(database) == []
    assert counted(database) == {"predictions": 0, "images": 0, "labels": 0}


def test_writers_of_the_same_images_in_opposite_order_both_end(database: Database) -> None:
    def write(seeds: list[int]) -> int:
        with database.write() as connection:
            return prediction_records.insert_predictions(connection, [prediction(seed=seed) for seed in seeds])

    seeds = list(range(20))
    results = together(*(lambda order=order: write(order) for order in (seeds, seeds[::-1]) * 4))
    assert results == [20] * 8
    assert counted(database) == {"predictions": 160, "images": 20, "labels": 0}


def test_one_batch_retried_by_two_writers_at_once_is_written_once(database: Database) -> None:
    rows = [prediction(seed=seed) for seed in range(10)]
    new = together(*[writing(database, lambda connection: prediction_records.insert_predictions(connection, rows))] * 3)
    assert sorted(value for value in new if isinstance(value, int)) == [0, 0, 10]
    assert counted(database)["predictions"] == 10


def test_a_crash_before_the_commit_leaves_neither_image_nor_row(database: Database) -> None:
    def crash(connection: Connection) -> None:
        prediction_records.insert_predictions(connection, [prediction()])
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        writing(database, crash)()
    assert counted(database) == {"predictions": 0, "images": 0, "labels": 0}


@pytest.mark.parametrize("wrong", ["nosuch", "", "a\0b", "' OR 1=1 --", "é" * 100])
def test_an_unknown_id_is_named_and_points_to_where_ids_come_from(database: Database, wrong: str) -> None:
    with database.read() as connection:
        with pytest.raises(NotFoundError, match="POST /v1/predict"):
            prediction_records.find(connection, wrong)
        with pytest.raises(NotFoundError, match="is not kept"):
            prediction_records.load_image(connection, "f" * 64)


def test_known_tells_the_recorded_ids_from_the_others(database: Database) -> None:
    [held] = recorded(database, prediction())
    with database.write() as connection:
        assert prediction_records.existing_ids(connection, [held, held, "other", "a\0b"]) == {held}
        assert prediction_records.existing_ids(connection, [held, "other"], lock=True) == {held}
        assert prediction_records.existing_ids(connection, []) == set()


def test_only_current_labels_are_counted(database: Database) -> None:
    [held] = recorded(database, prediction())
    with database.write() as connection:
        for label in ("5", "6"):
            label_records.insert_labels(
                connection, [label_records.SubmittedLabel(held, label, "audit", "ada", START)], START
            )
    assert counted(database) == {"predictions": 1, "images": 1, "labels": 1}


def test_a_label_cannot_point_at_a_prediction_that_is_not_there(database: Database) -> None:
    orphan = label_records.SubmittedLabel(uuid7(), "1", "audit", "ada", START)
    with pytest.raises(NotFoundError), database.write() as connection:
        label_records.insert_labels(connection, [orphan], START)
    values = {"id": uuid7(), "prediction_id": orphan.prediction_id, "label": "1", "source": "audit", "at": START}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(feedback).values(received_at=START, **values))
