"""Databases that go away, or whose process ends within a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database


class WrappedDatabase(Database):
    """Hands everything on to another database."""

    def __init__(self, inner: Database) -> None:
        self.inner, self.url, self.is_sqlite = inner, inner.url, inner.is_sqlite

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.inner.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self.inner.write() as connection:
            yield connection

    def close(self) -> None:
        self.inner.close()


class FlakyDatabase(WrappedDatabase):
    """The same database, unavailable while `away`."""

    away = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._check()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._check()
        with super().write() as connection:
            yield connection

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the database did not answer")


class DyingDatabase(WrappedDatabase):
    """The same database, for a process that is killed before the commit of a transaction that `dies_in` names."""

    def __init__(self, inner: Database, dies_in: Callable[[Connection], bool] = lambda _connection: True) -> None:
        super().__init__(inner)
        self._dies_in = dies_in

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            if self._dies_in(connection):
                raise StoreUnavailableError("killed")
