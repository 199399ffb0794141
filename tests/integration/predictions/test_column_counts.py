"""Values of columns, counted as predictions are recorded: once each, by hour, version and server."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from mlplatform.ids import uuid7
from mlplatform.predictions import column_counts, prediction_records
from mlplatform.predictions.column_counts import ColumnCounters, RowCounter
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.record_format import encode_frames, encode_prediction
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.retention import erasure
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.alerting import baselines
from mlplatform.store.tables.predictions import column_counts as table
from mlplatform.store.version_contracts import VersionContracts
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification
from tests.support.platform_world import START, FakeCatalog, prediction
from tests.support.version_folder import DIGITS

pytestmark = pytest.mark.both_databases

COLUMNS = (Column("age", "number", low=18, high=90), Column("plan", "category", known=("free", "gold")))
CONTRACT = ModelContract(TableInputs(COLUMNS), Classification(("no", "yes")), truth="event")
COUNTER = RowCounter.of(TableInputs(COLUMNS)).counter
NOTHING = [0] * COUNTER.size


def pin(database: Database, version: int = 1, contract: ModelContract = CONTRACT) -> None:
    with database.write() as connection:
        VersionContracts(FakeCatalog).pin(connection, contract, "churn", version, START)


def row(
    *values: float | str | None, at: datetime = START, version: int = 1, columns: Sequence[Column] = COLUMNS
) -> PredictionWithInput:
    [content] = TableCodec(tuple(columns)).rows_of([values])
    record = PredictionRecord(
        id=uuid7(), at=at, model_name="churn", model_version=version, image_hash=content.content_hash, label="no",
        probabilities=[0.9, 0.1], confidence=0.9, latency_ms=1.0, request_id="", client_id="",
    )  # fmt: skip
    return PredictionWithInput(record, content)


def keep(database: Database, *rows: PredictionWithInput, instance: str = "one") -> None:
    with database.write() as connection:
        prediction_records.insert_predictions(connection, rows, instance)


def counted(database: Database, version: int = 1, hours: int = 1) -> list[int]:
    first = column_counts.hour_index(START)
    with database.read() as connection:
        found = column_counts.hourly_counts(connection, "churn", version, [(first, first + hours)])
    return [sum(int(counts[place]) for counts in found.values()) for place in range(COUNTER.size)]


def test_values_are_counted_by_cell_over_batches_hours_and_servers(database: Database) -> None:
    pin(database)
    keep(database, row(30.0, "gold"), row(None, "free"), row(17.0, "new"))
    keep(database, row(91.0, None), instance="two")
    keep(database, row(30.0, "gold", at=START + timedelta(hours=1)))
    assert counted(database) == [1, 1, 1, 1, 2, 1, 1]
    assert counted(database, hours=2) == [2, 1, 1, 1, 3, 1, 1]
    with database.read() as connection:
        assert sorted(connection.scalars(select(table.c.answers))) == [1, 1, 3]


def test_a_prediction_recorded_twice_is_counted_once(database: Database) -> None:
    pin(database)
    rows = [row(30.0, "gold"), row(40.0, "free")]
    keep(database, *rows)
    keep(database, *rows, row(50.0, "gold"))
    assert counted(database) == [3, 0, 0, 0, 3, 0, 0]


def test_a_transaction_that_fails_counts_nothing(database: Database) -> None:
    pin(database)

    def fail() -> None:
        with database.write() as connection:
            prediction_records.insert_predictions(connection, [row(30.0, "gold")], "one")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert counted(database) == NOTHING


def test_rows_of_a_version_without_columns_or_kept_with_others_are_recorded_and_not_counted(database: Database) -> None:
    keep(database, row(30.0, "gold"))  # nothing is pinned yet
    pin(database)
    pin(database, 2, DIGITS)
    other = (Column("years", "number"), Column("plan", "category", known=("gold",)))
    keep(database, row(30.0, "gold", version=2), row(30.0, "gold", columns=other), prediction(START))
    assert counted(database) == NOTHING
    with database.read() as connection:
        assert connection.scalars(select(table.c.answers)).all() == []
    keep(database, row(30.0, "gold"))
    assert sum(counted(database)) == 2


def test_one_writer_learns_of_a_version_that_is_pinned_later(database: Database) -> None:
    writer, rows = ThreadWriter(database), [row(30.0, "gold"), row(None, "gold")]
    frames = [encode_frames([encode_prediction(each)]) for each in rows]
    assert writer.write(frames[0], "one") == ()
    pin(database)
    assert writer.write(frames[1], "one") == ()
    assert writer.write(frames[1], "one") == ()  # as after a kill before the answer
    assert counted(database) == [0, 0, 0, 1, 1, 0, 0]


def test_a_contract_that_cannot_be_read_hinders_no_recording(database: Database) -> None:
    pin(database)
    with database.write() as connection:
        connection.execute(baselines.update().values(numbers={"form": 99}))
    counters = ColumnCounters()
    with database.write() as connection:
        assert prediction_records.insert_predictions(connection, [row(30.0, "gold")], "one", counters) == 1
        assert counters.of(connection, "churn", 1) is None
    assert counted(database) == NOTHING


def test_values_that_cannot_be_counted_hinder_no_recording(database: Database) -> None:
    pin(database)
    damaged = row(30.0, "gold")
    damaged = replace(damaged, input=damaged.input._replace(content=b'["thirty"]'))
    keep(database, damaged)
    keep(database, row(30.0, "gold"))
    assert counted(database) == [1, 0, 0, 0, 1, 0, 0]


def test_counts_stay_when_predictions_are_erased(database: Database) -> None:
    pin(database)
    rows = [row(30.0, "gold"), row(40.0, "free")]
    keep(database, *rows)
    with database.write() as connection:
        assert erasure.erase(connection, [each.prediction.id for each in rows], START).answers == 2
    assert counted(database) == [2, 0, 0, 0, 2, 0, 0]
