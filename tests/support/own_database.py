"""A database of a test's own on the test server, which may be made read-only without hurting another test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from mlplatform.ids import uuid7
from mlplatform.store.urls import parse_database_url
from tests.support.platform_world import POSTGRES, no_postgres


@dataclass(frozen=True)
class Own:
    """A database of the test's own, on the test server."""

    name: str

    @property
    def connect(self) -> dict[str, str]:
        return {**parse_database_url(POSTGRES).parameters, "dbname": self.name}

    def url(self, **changed: str) -> str:
        """Its address, in part another."""
        given = {**self.connect, **changed}
        host, port, user, password = (given.pop(name, "") for name in ("host", "port", "user", "password"))
        rest = "&".join(f"{name}={value}" for name, value in given.items() if name != "dbname")
        who = f"{user}:{password}@" if password else f"{user}@" if user else ""
        return f"postgresql://{who}{host}{port and ':'}{port}/{self.name}?{rest}"

    def order(self, words: str) -> None:
        """Say something to the server, beside the database's own pools."""
        with psycopg.connect(make_conninfo(**parse_database_url(POSTGRES).parameters), autocommit=True) as server:
            server.execute(words.format(f'"{self.name}"').encode())

    def end_sessions(self) -> None:
        """Cut all of its sessions off, as a restart does."""
        with psycopg.connect(make_conninfo(**parse_database_url(POSTGRES).parameters)) as server:
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self.name])

    def set_read_only(self, *, on: bool) -> None:
        """Make it read-only for all sessions, or writable for those that begin from now on: as a failover does."""
        self.order(f"ALTER DATABASE {{}} SET default_transaction_read_only = {'on' if on else 'off'}")
        if on:
            self.end_sessions()


@contextmanager
def own_database() -> Iterator[Own]:
    """A new database, dropped at the end; `no_postgres` where no server answers."""
    if not POSTGRES:
        no_postgres("PLATFORM_TEST_POSTGRES_URL is not set: no PostgreSQL to test on")
    made = Own(f"mlplatform_test_{uuid7()[-12:]}")
    try:
        made.order("CREATE DATABASE {}")
    except psycopg.OperationalError as error:
        no_postgres(f"no PostgreSQL answers at PLATFORM_TEST_POSTGRES_URL: {error}")
    try:
        yield made
    finally:
        made.order("DROP DATABASE {} WITH (FORCE)")
