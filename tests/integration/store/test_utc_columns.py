"""Times in the store: aware in, UTC out, in order; naive ones are refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select
from sqlalchemy.exc import StatementError

from mlplatform.audit import audit_entries
from mlplatform.store.database import Database
from mlplatform.store.tables.audit import audit_log
from mlplatform.store.tables.base import UtcDateTime, metadata
from tests.support.platform_world import START

pytestmark = pytest.mark.both_databases

INDIA = timezone(timedelta(hours=5, minutes=30))


def written(database: Database, moment: datetime) -> datetime:
    with database.write() as connection:
        audit_entries.append(connection, "ada", "look", "clock", moment)
    with database.read() as connection:
        found: datetime = audit_entries.recent_entries(connection, limit=1)[0]["at"]
    return found


@pytest.mark.parametrize(
    "moment",
    [
        START,
        START.replace(microsecond=1),
        START.replace(microsecond=999_999),
        START.astimezone(INDIA),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    ],
)
def test_an_aware_time_comes_back_as_the_same_moment_in_utc(database: Database, moment: datetime) -> None:
    found = written(database, moment)
    assert found == moment
    assert found.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused_and_nothing_is_written(database: Database) -> None:
    naive = START.replace(tzinfo=None)
    with pytest.raises(StatementError, match="naive datetime"), database.write() as connection:
        audit_entries.append(connection, "ada", "look", "clock", naive)
    with database.read() as connection:
        assert audit_entries.recent_entries(connection) == []


def test_a_naive_time_is_refused_in_a_comparison(database: Database) -> None:
    naive = START.replace(tzinfo=None)
    with pytest.raises(StatementError, match="naive datetime"), database.read() as connection:
        connection.execute(select(audit_log).where(audit_log.c.at < naive))


def test_times_of_many_zones_and_precisions_sort_as_moments(database: Database) -> None:
    moments = [
        START,
        START + timedelta(microseconds=1),
        (START + timedelta(milliseconds=500)).astimezone(INDIA),
        START + timedelta(seconds=1),
        (START + timedelta(seconds=2)).astimezone(timezone(timedelta(hours=-11))),
    ]
    with database.write() as connection:
        for moment in reversed(moments):
            audit_entries.append(connection, "ada", "look", "clock", moment)
    with database.read() as connection:
        query = select(audit_log.c.at).where(audit_log.c.at > START.astimezone(INDIA)).order_by(audit_log.c.at)
        assert list(connection.scalars(query)) == moments[1:]


def test_every_time_column_of_the_schema_is_aware() -> None:
    naive = [
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if "DATE" in str(column.type).upper() and not isinstance(column.type, UtcDateTime)
    ]
    assert naive == []
