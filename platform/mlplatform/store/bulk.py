"""Inserts many rows at once on PostgreSQL: one INSERT that takes them as one JSON document."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Column, Connection, Table

from mlplatform.store.database import insert_returning

NUL_ESCAPE: Final = "\\u0000"


def insert_many_returning(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], column: Column[Any]
) -> set[Any]:
    """Insert whole rows whose keys are not there yet; returns that column of the new ones. No column has a default.

    A float that is no number is NULL in the document, which a column that must not be empty refuses.
    """
    if connection.dialect.name != "postgresql" or not rows:
        return insert_returning(connection, table, rows, column)
    document = orjson.dumps(
        rows, default=_json_fallback, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    ).decode()
    if NUL_ESCAPE in document:  # a JSON column may hold it where it stands; a document that is taken apart may not
        return insert_returning(connection, table, rows, column)
    names = ", ".join(column.name for column in table.columns)
    inserted = connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {names} "  # noqa: S608 - names of our own schema
        f"FROM json_populate_recordset(NULL::{table.name}, %(rows)s::json) ON CONFLICT DO NOTHING "
        f"RETURNING {column.name}",
        {"rows": document},
    )
    return set(inserted.scalars())


def _json_fallback(value: object) -> str:
    """What JSON has no word for, as PostgreSQL reads it. Raises TypeError for what cannot be written."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"this {type(value).__name__} cannot be written into the database: {value!r}")
