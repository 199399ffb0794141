"""The application's database: accounts, cheques with their pictures, labels to be sent, audit trail.

SQLite and PostgreSQL. A transaction that writes takes SQLite's lock at its beginning, and PostgreSQL's row locks where
it reads what it will change, so that two at once come one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

METADATA: Final = MetaData()
BUSY_SECONDS: Final = 30
accounts = Table(
    "accounts",
    METADATA,
    Column("key", String(14), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("largest_cheque", BigInteger, nullable=False),
)
cheques = Table(
    "cheques",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("received_at", String(32), nullable=False),
    Column("decided_at", String(32), nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("code", String(32), nullable=False),
    Column("amount", String(16), nullable=False),
    Column("reading", JSON, nullable=False),
    Column("is_sampled", Boolean, nullable=False),
    Column("is_checked", Boolean, nullable=False),
    Index("cheques_by_time", "received_at"),
    Index("cheques_by_code", "code"),
    Index("cheques_by_outcome", "outcome", "received_at"),
)
"""`amount` is what was decided on, `reading` what vision and model saw, with the places of it."""
pictures = Table(
    "pictures",
    METADATA,
    Column("cheque_id", String(32), ForeignKey("cheques.id"), primary_key=True),
    Column("flat", LargeBinary, nullable=False),
)
presentations = Table(
    "presentations",
    METADATA,
    Column("code", String(32), primary_key=True),
    Column("cheque_id", String(32), nullable=False),
)
"""Which cheque holds a code line: one that is accepted or waits for review. Its key lets only one in."""
labels = Table(
    "labels",
    METADATA,
    Column("cheque_id", String(32), primary_key=True),
    Column("prediction_id", String(64), nullable=False),
    Column("label", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("state", String(8), nullable=False),
    Column("note", Text, nullable=False),
    Index("labels_by_state", "state"),
)
audit_entries = Table(
    "audit_entries",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Index("audit_by_subject", "subject"),
)
audit_head = Table(
    "audit_head",
    METADATA,
    Column("name", String(8), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)


class Store:
    """Connections to one database. `confidence` columns are JSON, times ISO 8601 in UTC."""

    def __init__(self, url: str) -> None:
        driven = url.replace("postgresql://", "postgresql+psycopg://", 1)
        self.engine: Engine = create_engine(driven, **_options(url))
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _configure_sqlite)
        self._create_tables()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that changes nothing, and sees the database as it was at its first question."""
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or leaves nothing."""
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def _create_tables(self) -> None:
        """Create what is missing; of two processes that do so at once, one finds the other's."""
        for attempt in range(20):
            try:
                METADATA.create_all(self.engine)
                return
            except (IntegrityError, OperationalError, ProgrammingError):
                if attempt == 19:
                    raise
                time.sleep(0.1)


def insert_new(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless one with its key is there; returns whether it was. Waits for another's open transaction."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(values).on_conflict_do_nothing()
    key = next(iter(table.primary_key.columns))
    return connection.execute(statement.returning(key)).first() is not None


def add(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Insert a row."""
    connection.execute(insert(table), [values])


def _options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True}


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `write` says
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
