"""Many new rows at once on PostgreSQL: one INSERT that takes them as one JSON document; it knows no table's meaning."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Table

from mlplatform.store.database import insert_returning


def insert_many_returning(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], column: Column[Any]
) -> set[Any]:
    """Insert whole rows whose keys are not there yet; returns that column of the new ones. No column has a default."""
    if connection.dialect.name != "postgresql" or not rows:
        return insert_returning(connection, table, rows, column)
    names = ", ".join(each.name for each in table.columns)
    told = orjson.dumps(rows, default=_bytea, option=orjson.OPT_NON_STR_KEYS).decode()
    inserted = connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {names} "  # noqa: S608 - names of our own schema
        f"FROM json_populate_recordset(NULL::{table.name}, %(rows)s::json) ON CONFLICT DO NOTHING "
        f"RETURNING {column.name}",
        {"rows": told},
    )
    return set(inserted.scalars())


def _bytea(value: object) -> str:
    """Bytes as PostgreSQL reads them in a text. Raises TypeError for what has no place in JSON."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"a {type(value).__name__} cannot be written into the database: {value!r}")
