"""Opens the database, SQLite or PostgreSQL: transactions for reading and writing, migrations, typed failures."""

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from mlplatform.errors import SettingsError, StoreUnavailableError
from mlplatform.store.db_errors import NO_ANSWER, RETRY_REMEDY, classify_error
from mlplatform.store.file_identity import DatabaseFile
from mlplatform.store.lock_holder import write_lock_holder
from mlplatform.store.timeouts import DatabaseTimeouts, long_statements, uses_reserved_connections
from mlplatform.store.urls import DatabaseAddress, parse_database_url

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import dml as postgresql_dml
    from sqlalchemy.dialects.sqlite import dml as sqlite_dml

BUSY_TIMEOUT_SECONDS = 15.0
RESERVED_POOL = {"pool_size": 3, "max_overflow": 5}
"""Connections for the threads behind requests: the reloader, the keyring and their like, a few at once."""
_NUL_ESCAPE = "\\u0000"
MIGRATION_LOCK = 7_205_759_403_792_794  # any constant shared by all processes of this product


class Database:
    """One store on SQLite (WAL, busy timeout) or PostgreSQL; safe to share between threads.

    Its connections are given back by `close`, and when nobody holds it any more.

    Raises StoreUnavailableError whenever the server, the file or its lock cannot be had. No thread waits longer than
    `timeouts` says; with `reserved_timeouts`, work inside `reserved_connections` has connections and limits of its own.
    """

    _file: DatabaseFile | None = None

    def __init__(
        self, url: str, timeouts: DatabaseTimeouts | None = None, reserved_timeouts: DatabaseTimeouts | None = None
    ) -> None:
        self._address = parse_database_url(url)
        self.url = self._address.display_url
        self.is_sqlite = self._address.is_sqlite
        self._engine = _create_engine(self._address, timeouts or DatabaseTimeouts())
        self._reserved_engine = (
            self._engine
            if reserved_timeouts is None
            else _create_engine(self._address, reserved_timeouts, **RESERVED_POOL)
        )
        weakref.finalize(self, _dispose, self._engine, self._reserved_engine).atexit = False
        if (path := _file_path(self._address)) is not None:
            self._file = DatabaseFile(path)
            for engine in {self._engine, self._reserved_engine}:
                event.listen(engine, "do_connect", self._file.before_connection)
                event.listen(engine, "connect", self._file.after_connection)

    @property
    def is_file_replaced(self) -> bool:
        """Whether nothing is written because the database's file is no longer the one that was opened."""
        return self._file is not None and self._file.is_replaced

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one snapshot from its first query on, that takes no write lock."""
        with self._translate_errors(), self._pool.connect() as connection, self._verify_file(connection):
            yield connection.execution_options(mlplatform_readonly=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end and rolls back on any exception."""
        with (
            self._translate_errors(),
            self._pool.connect() as connection,
            self._verify_file(connection),
            connection.begin(),
        ):
            waiting: dict[Callable[[Connection, list[Any]], None], list[Any]] = {}
            yield connection.execution_options(mlplatform_last=waiting)
            while waiting:
                work = next(iter(waiting))
                work(connection, waiting.pop(work))

    def upgrade(self) -> None:
        """Create or migrate the tables; processes that start together wait for each other.

        Raises SettingsError for tables of a newer version than this one.
        """
        with long_statements(), self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config = _alembic_config()
            current = MigrationContext.configure(connection).get_current_revision()
            if not is_known_revision(current):
                raise SettingsError(self.newer_schema_message(current))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def newer_schema_message(self, current: str | None) -> str:
        """What is wrong with tables at a revision that this version does not know, and what to do."""
        head = _migrations().get_current_head()
        return (
            f"the database {self.url} has the tables of a newer version of the platform: they are at revision "
            f"{current}, this version knows {head} as the newest. Install the newer version here, or name another "
            "database in PLATFORM_DATABASE_URL; tables are never set back"
        )

    def revision(self) -> tuple[str | None, str | None]:
        """The revision the database is at, and the newest this code knows."""
        with self.read() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        return current, _migrations().get_current_head()

    def close(self) -> None:
        """Give every connection back."""
        _dispose(self._engine, self._reserved_engine)

    @property
    def _pool(self) -> Engine:
        return self._reserved_engine if uses_reserved_connections() else self._engine

    @contextmanager
    def _verify_file(self, connection: Connection) -> Iterator[None]:
        """Before and after: what went into a file that bears the name no more is not written."""
        if self._file is None:
            yield
            return
        notes = connection.info
        self._file.verify(notes)
        yield
        in_write = not connection.get_execution_options().get("mlplatform_readonly") or connection.in_transaction()
        self._file.verify(notes, used=in_write)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise self._unavailable(error, "all connections are in use", RETRY_REMEDY) from error
        except DBAPIError as error:
            meaning = classify_error(error)
            if meaning is None or not meaning.is_unavailable:
                raise
            raise self._unavailable(error.orig or error, meaning.description, meaning.remedy) from error

    def _unavailable(self, error: BaseException, words: str, remedy: str) -> StoreUnavailableError:
        said = (str(error).splitlines() or [type(error).__name__])[0] + self._lock_holder_hint(error)
        reason = self._address.redact(said)
        what = words if words == NO_ANSWER else f"{NO_ANSWER}: {words}"
        return StoreUnavailableError(f"the database {self.url} {what} ({reason}); {remedy}")

    def _lock_holder_hint(self, error: BaseException) -> str:
        """Whose lock on a SQLite file was waited for in vain, as far as the system tells."""
        code = getattr(error, "sqlite_errorcode", 0)
        path = self._engine.url.database
        if not self.is_sqlite or not path or code & 0xFF != sqlite3.SQLITE_BUSY:
            return ""
        holder = write_lock_holder(Path(path))
        return "" if holder is None else f"; {holder.sentence}"


def before_commit(connection: Connection, callback: Callable[[Connection, list[Any]], None], item: object) -> None:
    """Let `work` be done with all its items just before the transaction commits.

    For a lock that every writer takes: taken last, it is held for a moment only, and nobody who holds it waits for
    another. On a connection that is not a `write` the work is done at once.
    """
    waiting = connection.get_execution_options().get("mlplatform_last")
    if waiting is None:
        callback(connection, [item])
    else:
        waiting.setdefault(callback, []).append(item)


def _dispose(*engines: Engine) -> None:
    """Close the connections that wait in the pools of these engines."""
    for engine in engines:
        engine.dispose()


def _create_engine(address: DatabaseAddress, timeouts: DatabaseTimeouts, **pool: int) -> Engine:
    if address.sqlite_url is None:
        from mlplatform.store.postgres import postgres_engine  # whose driver need not be there for SQLite

        return postgres_engine(address, timeouts, to_json, **pool)
    path = address.sqlite_url.database
    limits: dict[str, Any] = {}
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        limits = {"pool_timeout": timeouts.pool_seconds, **pool}
    arguments = {"timeout": timeouts.lock_seconds, "check_same_thread": False}
    engine = create_engine(address.sqlite_url, json_serializer=to_json, connect_args=arguments, **limits)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", partial(_begin_sqlite, timeouts))
    return engine


def database_file(url: str) -> Path | None:
    """The file of a SQLite database; None for any other."""
    return _file_path(parse_database_url(url))


def _file_path(address: DatabaseAddress) -> Path | None:
    path = None if address.sqlite_url is None else address.sqlite_url.database
    return None if not path or path == ":memory:" or path.startswith("file:") else Path(path)


def to_json(value: object) -> str:
    """JSON for a column; several times faster than the standard library's. Raises TypeError for what is not JSON."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _configure_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
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


def _begin_sqlite(timeouts: DatabaseTimeouts, connection: Connection) -> None:
    """Take the write lock first: a read lock upgraded later fails at once where this one waits."""
    _, seconds = timeouts.current_limits()
    if connection.info.get("lock_seconds", timeouts.lock_seconds) != seconds:
        connection.info["lock_seconds"] = seconds
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * seconds:.0f}")
    readonly = connection.get_execution_options().get("mlplatform_readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _migrations() -> ScriptDirectory:
    """The migrations of this code. Raises StoreUnavailableError where none can be read: that says nothing of tables."""
    scripts = ScriptDirectory.from_config(_alembic_config())
    if scripts.get_current_head() is None:
        raise StoreUnavailableError(
            f"no migration can be read in {scripts.versions}, so nothing can be said of the tables: memory or file "
            "descriptors are short, or the installation is incomplete. Free some, or install the package again"
        )
    return scripts


def is_known_revision(revision: str | None) -> bool:
    """Whether this code has that revision of the tables; None is before the first."""
    known = {script.revision for script in _migrations().walk_revisions()}
    return revision is None or revision in known


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


def insert_many_returning(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], column: Column[Any]
) -> set[Any]:
    """Insert whole rows whose keys are not there yet; returns that column of the new ones. No column has a default.

    On PostgreSQL it is one INSERT that takes all rows as one JSON document: psycopg binds thousands of values slowly.
    A float that is no number is NULL in the document, which a column that must not be empty refuses.
    """
    if connection.dialect.name != "postgresql" or not rows:
        return insert_returning(connection, table, rows, column)
    document = orjson.dumps(
        rows, default=_json_fallback, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    ).decode()
    if _NUL_ESCAPE in document:  # a JSON column may hold it where it stands; a document that is taken apart may not
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
