"""Many rows at once are stored as few are: the same content, each id once, the same errors."""

from dataclasses import asdict, replace
from datetime import timedelta, timezone

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from mlplatform.predictions.prediction_records import PredictionWithInput, find, insert_predictions
from mlplatform.store.database import Database, insert_many_returning
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.predictions import predictions
from tests.support.platform_world import prediction, recorded

pytestmark = pytest.mark.both_databases


def rows(database: Database, count: int = 120) -> list[PredictionRecord]:
    """Predictions whose picture is kept."""
    recorded(database, prediction(seed=1))
    made = [replace(prediction(seed=1).prediction, client_id=f"Zoë\t\\N {n}\n") for n in range(count)]
    return [replace(row, tags={"scanner": "a\\b"} if n % 2 else None) for n, row in enumerate(made)]


def insert(database: Database, made: list[PredictionRecord]) -> set[str]:
    with database.write() as connection:
        return insert_many_returning(connection, predictions, [asdict(row) for row in made], predictions.c.id)


def test_many_rows_come_back_as_they_were_and_only_new_ones_are_told(database: Database) -> None:
    made = rows(database)
    old, new = made[:30], made[30:]
    with database.write() as connection:
        insert_many_returning(connection, predictions, [asdict(row) for row in old], predictions.c.id)
    assert insert(database, made) == {row.id for row in new}
    assert insert(database, made) == set()
    with database.read() as connection:
        assert [find(connection, row.id) for row in made] == made
        nulls = connection.scalars(select(predictions.c.tags).where(predictions.c.id == made[0].id)).one()
    assert nulls is None


def test_an_id_that_comes_twice_in_one_batch_is_stored_once(database: Database) -> None:
    made = rows(database)
    assert insert(database, [*made, made[0]]) == {row.id for row in made}


def test_a_row_that_cannot_be_stored_refuses_the_batch_and_the_connection_goes_on(database: Database) -> None:
    made = rows(database)
    with pytest.raises(IntegrityError):
        insert(database, [*made, replace(made[0], id="x", latency_ms=None)])  # type: ignore[arg-type]
    assert insert(database, made) == {row.id for row in made}


def test_what_json_has_no_word_for_comes_back_and_a_time_without_zone_is_refused(database: Database) -> None:
    base = rows(database, 1)[0]
    zone = timezone(timedelta(hours=5, seconds=30))
    odd = [
        replace(base, id="nul", tags={"a": "x\0y"}),
        replace(base, id="zone", at=base.at.astimezone(zone) + timedelta(microseconds=1)),
        replace(base, id="floats", confidence=5e-324, latency_ms=0.1 + 0.2),
    ]
    assert insert(database, odd) == {row.id for row in odd}
    with database.read() as connection:
        assert [find(connection, row.id) for row in odd] == odd
    with pytest.raises((TypeError, StatementError)):
        insert(database, [replace(base, id="naive", at=base.at.replace(tzinfo=None))])


@pytest.mark.postgres
def test_a_connection_that_breaks_says_so(postgres: Database) -> None:
    made = [prediction(seed=1) for _ in range(100)]
    with pytest.raises((ConnectionError, DBAPIError)):
        record_through_a_broken_connection(postgres, made)
    recorded(postgres, *made)


def record_through_a_broken_connection(database: Database, made: list[PredictionWithInput]) -> None:
    with database.write() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        connection.exec_driver_sql("SELECT 1")
        raw.pgconn.finish()
        insert_predictions(connection, made)
