"""Many new rows at once on PostgreSQL: COPY into a temporary table, then one INSERT; it knows no table's meaning."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import JSON, Column, Connection, Table
from sqlalchemy.exc import DBAPIError

from mlplatform.store.database import insert_returning, to_json

WORTHWHILE: Final = 100
"""From so many rows on COPY is faster than batched inserts (docs/LOG.md, 2026-11-24)."""


def insert_many_returning(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], column: Column[Any]
) -> set[Any]:
    """Insert the rows whose keys are not there yet; returns that column of the new ones."""
    if connection.dialect.name != "postgresql" or len(rows) < WORTHWHILE or not _may_make_temporary(connection):
        return insert_returning(connection, table, rows, column)
    names = ", ".join(each.name for each in table.columns)
    incoming = f"incoming_{table.name}"
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table.name}) ON COMMIT DROP")
    _copy(connection, f"COPY {incoming} ({names}) FROM STDIN", table, rows)
    inserted = connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {incoming} "  # noqa: S608 - names of our own schema
        f"ON CONFLICT DO NOTHING RETURNING {column.name}"
    )
    return set(inserted.scalars())


def _may_make_temporary(connection: Connection) -> bool:
    allowed = connection.exec_driver_sql("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
    return bool(allowed.scalar())


def _copy(connection: Connection, statement: str, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    import psycopg  # only where PostgreSQL is used

    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    in_order = [(each.name, isinstance(each.type, JSON)) for each in table.columns]
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([_value(row.get(name), as_json) for name, as_json in in_order])
    except psycopg.Error as error:
        gone = connection.dialect.is_disconnect(error, raw, None)  # type: ignore[arg-type]
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(statement, None, error, psycopg.Error, connection_invalidated=gone) from error


def _value(value: object, as_json: bool) -> object:
    return to_json(value) if as_json else value
