"""Connections to PostgreSQL: none waits for ever, none outlives a failover, all go through a pooler.

A pooler in transaction mode (PgBouncer) gives each transaction any session: so nothing is prepared, and whatever is set
is set for one transaction, together with its BEGIN.
"""

import re
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from mlplatform.store.db_errors import classify_error
from mlplatform.store.timeouts import DatabaseTimeouts
from mlplatform.store.urls import DatabaseAddress

IDLE_TRANSACTION_SECONDS: Final = 15
"""How long PostgreSQL waits for a process that was paused inside a transaction before it frees its locks."""
KEEPALIVE_PARAMETERS: Final = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""A host that vanished is noticed by TCP within about ten seconds; what the address says comes first."""
RV = TypeVar("RV")


class TimeLimitedConnection(psycopg.Connection[Any]):
    """A connection that is given up when nothing comes for `patience` seconds: TCP lives on where a proxy stands."""

    max_silence_seconds: float = DatabaseTimeouts.connect_seconds

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:  # noqa: ANN401 - passed on as they are
        return super().wait(self._limit_silence(gen), *args, **kwargs)

    def _limit_silence(self, gen: PQGen[RV]) -> Generator[Any, Any, RV]:
        """The steps of an exchange with the server, broken off when it stays silent; each sign of life counts anew."""
        try:
            state = next(gen)
            heard = time.monotonic()
            while True:
                ready = yield state
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.max_silence_seconds:
                    gen.close()
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"nothing came for {self.max_silence_seconds:g} s; the connection is given up"
                    )
                state = gen.send(ready)
        except StopIteration as end:
            result: RV = end.value
            return result


def postgres_engine(
    address: DatabaseAddress, timeouts: DatabaseTimeouts, to_json: Callable[[object], str], **pool: int
) -> Engine:
    """A pool of connections to the address, whose transactions wait no longer than `patience` says."""
    given = make_conninfo(**{**KEEPALIVE_PARAMETERS, **address.parameters})

    def connect(*_args: object) -> TimeLimitedConnection:
        made = TimeLimitedConnection.connect(given, autocommit=True, prepare_threshold=None)
        calm_down(made)
        return made

    def calm_down(connection: object, *_args: object) -> None:
        """One that waits for its next use is asked first whether it lives, which takes a moment or is in vain."""
        if connection is not None:
            _as_time_limited(connection).max_silence_seconds = timeouts.connect_seconds

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        snapshot = " ISOLATION LEVEL REPEATABLE READ" if options.get("mlplatform_readonly", False) else ""
        statement, lock = timeouts.current_limits()
        limits = {"statement_timeout": statement, "lock_timeout": lock}
        limits["idle_in_transaction_session_timeout"] = IDLE_TRANSACTION_SECONDS
        words = [f"BEGIN{snapshot}", *(f"SET LOCAL {name} = {int(limit * 1000)}" for name, limit in limits.items())]
        connection.exec_driver_sql("; ".join(words), execution_options={"no_parameters": True})
        _as_time_limited(connection.connection.dbapi_connection).max_silence_seconds = (
            statement + timeouts.connect_seconds
        )

    engine = create_engine(
        _sqlalchemy_url(address),
        json_serializer=to_json,
        pool_pre_ping=True,
        pool_timeout=timeouts.pool_seconds,
        **pool,
    )
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "begin", begin)
    event.listen(engine, "checkin", calm_down)
    event.listen(engine, "handle_error", _invalidate_connections)
    return engine


def _sqlalchemy_url(address: DatabaseAddress) -> URL:
    """The address as SQLAlchemy writes it; connections are made without it."""
    given = dict(address.parameters)
    user, password, database = (given.pop(name, None) for name in ("user", "password", "dbname"))
    host, port = given.get("host", ""), given.get("port", "")
    if host and not re.search(r"[,/@]", host):
        del given["host"]
        given.pop("port", None)
        return URL.create(
            "postgresql+psycopg", user, password, host, int(port) if port else None, database, query=given
        )
    return URL.create("postgresql+psycopg", user, password, database=database, query=given)


def _as_time_limited(connection: object) -> TimeLimitedConnection:
    assert isinstance(connection, TimeLimitedConnection)
    return connection


def _invalidate_connections(context: ExceptionContext) -> None:
    """After a failover and its like, make this connection and all older ones anew."""
    error = context.sqlalchemy_exception
    meaning = classify_error(error) if isinstance(error, DBAPIError) else None
    if meaning is not None and meaning.reconnect:
        context.is_disconnect = True
