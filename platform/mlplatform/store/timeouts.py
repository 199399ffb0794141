"""How long work waits for the database before it gives up, and which connections it may have."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Self

BACKGROUND_LOCK_FACTOR: Final = 3
"""How many times as long as a request the work behind requests waits for a lock."""
_long_statements: Final = ContextVar("unhurried", default=False)
_reserved_connections: Final = ContextVar("reserved", default=False)


@dataclass(frozen=True)
class DatabaseTimeouts:
    """Limits in seconds: of a statement, of one of a job that is long by nature, of a lock, of a free connection.

    A connection that does not say hello within `greeting_seconds`, or is silent so much longer than its statement may
    take, is given up.
    """

    statement_seconds: float = 15.0
    long_statement_seconds: float = 600.0
    lock_seconds: float = 15.0
    pool_seconds: float = 5.0
    connect_seconds: float = 5.0

    @classmethod
    def from_settings(cls, statement: float, long: float, lock: float, *, in_request: bool) -> Self:
        """What the settings mean for requests that somebody waits for, or for work that nobody waits for."""
        return cls(statement, max(long, statement), lock if in_request else lock * BACKGROUND_LOCK_FACTOR)

    def current_limits(self) -> tuple[float, float]:
        """The seconds of a statement and of a lock in a transaction that begins here and now."""
        if _long_statements.get():
            return self.long_statement_seconds, self.long_statement_seconds
        return self.statement_seconds, self.lock_seconds


@contextmanager
def long_statements() -> Iterator[None]:
    """Let statements begun in here last minutes: for migrations, retention and other work that is long by nature."""
    before = _long_statements.set(True)
    try:
        yield
    finally:
        _long_statements.reset(before)


@contextmanager
def reserved_connections() -> Iterator[None]:
    """Let this thread have connections that no request takes: its work goes on whoever waits for the database."""
    before = _reserved_connections.set(True)
    try:
        yield
    finally:
        _reserved_connections.reset(before)


def uses_reserved_connections() -> bool:
    """Whether the work here and now has connections of its own."""
    return _reserved_connections.get()
