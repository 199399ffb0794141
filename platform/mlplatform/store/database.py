"""The database as a pair of context managers, read and write; it knows no table."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from mlplatform.errors import SettingsError, StoreUnavailableError
from mlplatform.store.identity import StoreFile
from mlplatform.store.lock_holder import write_lock_holder

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.dialects.postgresql import dml as postgresql_dml
    from sqlalchemy.dialects.sqlite import dml as sqlite_dml

BUSY_TIMEOUT_SECONDS = 15.0
IDLE_SECONDS = 15
"""How long PostgreSQL waits for a process that was paused inside a transaction before it frees its locks."""
MIGRATION_LOCK = 7_205_759_403_792_794  # any constant shared by all processes of this product


class Database:
    """One engine on SQLite (WAL, busy timeout) or PostgreSQL; safe to share between threads.

    Raises StoreUnavailableError whenever the server, the file or its lock cannot be had.
    """

    _file: StoreFile | None = None

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            self.url = parsed.render_as_string(hide_password=True)
            self._engine = _create(parsed.render_as_string(hide_password=False))
        except (ArgumentError, NoSuchModuleError) as error:
            raise SettingsError(
                f"PLATFORM_DATABASE_URL: {_masked(url)!r} is not a database URL that works here ({error}); use "
                "postgresql+psycopg://user@host/database or sqlite:///path/to/file.db"
            ) from error
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        if (path := file_of(url)) is not None:
            self._file = StoreFile(path)
            event.listen(self._engine, "do_connect", self._file.before_connection)
            event.listen(self._engine, "connect", self._file.after_connection)

    @property
    def replaced(self) -> bool:
        """Whether nothing is written because the database's file is no longer the one that was opened."""
        return self._file is not None and self._file.replaced

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one snapshot from its first query on, that takes no write lock."""
        with self._translated(), self._engine.connect() as connection, self._same_file(connection):
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection.execution_options(mlplatform_readonly=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end and rolls back on any exception."""
        with self._translated(), self._engine.connect() as connection, self._same_file(connection), connection.begin():
            waiting: dict[Callable[[Connection, list[Any]], None], list[Any]] = {}
            yield connection.execution_options(mlplatform_last=waiting)
            while waiting:
                work = next(iter(waiting))
                work(connection, waiting.pop(work))

    def upgrade(self) -> None:
        """Create or migrate the tables; processes that start together wait for each other."""
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def revision(self) -> tuple[str | None, str | None]:
        """The revision the database is at, and the newest this code knows."""
        with self.read() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        return current, ScriptDirectory.from_config(_alembic_config()).get_current_head()

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    @contextmanager
    def _same_file(self, connection: Connection) -> Iterator[None]:
        """Before and after: what went into a file that bears the name no more is not written."""
        if self._file is None:
            yield
            return
        notes = connection.info
        self._file.verify(notes)
        yield
        begun = not connection.get_execution_options().get("mlplatform_readonly") or connection.in_transaction()
        self._file.verify(notes, used=begun)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise self._unavailable(error) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise self._unavailable(error) from error
            raise

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        first_line = str(getattr(error, "orig", error)).splitlines()[0] + self._waited_for(error)
        return StoreUnavailableError(
            f"the database {self.url} did not answer ({first_line}); check that it runs and that "
            "PLATFORM_DATABASE_URL is right (`platform doctor`)"
        )

    def _waited_for(self, error: Exception) -> str:
        """Whose lock on a SQLite file was waited for in vain, as far as the system tells."""
        code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
        path = self._engine.url.database
        if not self.is_sqlite or not path or code & 0xFF != sqlite3.SQLITE_BUSY:
            return ""
        holder = write_lock_holder(Path(path))
        return "" if holder is None else f"; {holder.sentence}"


def at_the_end(connection: Connection, work: Callable[[Connection, list[Any]], None], item: object) -> None:
    """Let `work` be done with all its items just before the transaction commits.

    For a lock that every writer takes: taken last, it is held for a moment only, and nobody who holds it waits for
    another. On a connection that is not a `write` the work is done at once.
    """
    waiting = connection.get_execution_options().get("mlplatform_last")
    if waiting is None:
        work(connection, [item])
    else:
        waiting.setdefault(work, []).append(item)


def _masked(url: str) -> str:
    return re.sub(r"://([^:/@]+):[^@]*@", r"://\1:***@", url)


def _create(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        engine = create_engine(
            url, json_serializer=to_json, pool_pre_ping=True, pool_timeout=10, connect_args={"connect_timeout": 5}
        )
        event.listen(engine, "connect", _set_up_postgres)
        return engine
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    patience = {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    engine = create_engine(url, json_serializer=to_json, connect_args=patience)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def file_of(url: str) -> Path | None:
    """The file of a SQLite database; None for any other."""
    parsed = make_url(url)
    path = parsed.database if parsed.get_backend_name() == "sqlite" else None
    return None if not path or path == ":memory:" or path.startswith("file:") else Path(path)


def to_json(value: object) -> str:
    """JSON for a column; several times faster than the standard library's. Raises TypeError for what is not JSON."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _set_up_postgres(connection: "psycopg.Connection", _entry: ConnectionPoolEntry) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
    connection.commit()


def _set_up_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event below starts the transactions
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Change to WAL, patiently: while others open a new file, SQLite refuses this at once where it waits elsewhere."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock first: a read lock upgraded later fails at once where this one waits."""
    readonly = connection.get_execution_options().get("mlplatform_readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def insert_into(connection: Connection, table: Table) -> "sqlite_dml.Insert | postgresql_dml.Insert":
    """The INSERT of the connection's dialect, which can say what to do where the key is there."""
    return (sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert)(table)


def insert_returning(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], column: Column[Any]
) -> set[Any]:
    """Insert the rows whose keys are not there yet; returns that column of the new ones."""
    if not rows:
        return set()
    statement = insert_into(connection, table).on_conflict_do_nothing().returning(column)
    return set(connection.scalars(statement, list(rows)))


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; returns how many were new."""
    if not rows:
        return 0
    statement = insert_into(connection, table).on_conflict_do_nothing()
    counted = {"preserve_rowcount": True}  # else psycopg's batches answer -1
    return connection.execute(statement, list(rows), execution_options=counted).rowcount
