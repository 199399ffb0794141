"""Tells what a database's failure means: it is unavailable, or something is wrong with what it was given.

PostgreSQL says by a code of five characters (appendix A of its manual); the first two are a class. SQLite's driver says
by the kind of exception.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError

SCHEMA_REMEDY: Final = "let this version of the code upgrade the tables, or give the database's user its rights"
RETRY_REMEDY: Final = "it is tried again; see the database's own log when this goes on"


@dataclass(frozen=True)
class DatabaseFault:
    """What a code means: in words, what to do, and whether the connection (with all older ones) must be made anew."""

    description: str
    remedy: str = RETRY_REMEDY
    reconnect: bool = False
    is_unavailable: bool = True
    """Whether the database is to blame, so that the same may be tried again; not the rows it was given."""


_REJECTED_DATA: Final = DatabaseFault("it refused what it was given", is_unavailable=False)
_SCHEMA_MISMATCH: Final = DatabaseFault("its tables are not those of this version", SCHEMA_REMEDY)
FAULTS_BY_SQLSTATE: Final = {
    "08": DatabaseFault("the connection failed", reconnect=True),
    "22": _REJECTED_DATA,
    "23": _REJECTED_DATA,
    "25006": DatabaseFault("it is read-only: a standby, or a failover is under way", reconnect=True),
    "25P03": DatabaseFault("the transaction was idle for too long", reconnect=True),
    "25P04": DatabaseFault("the transaction took too long", reconnect=True),
    "26": DatabaseFault("a pooler gave the session to another", reconnect=True),
    "28": DatabaseFault("it lets this user in no more", "check user and password in PLATFORM_DATABASE_URL"),
    "3D": DatabaseFault("it has no database of this name", "check the name in PLATFORM_DATABASE_URL", reconnect=True),
    "3F": _SCHEMA_MISMATCH,
    "40": DatabaseFault("it undid the transaction, which met others"),
    "42501": DatabaseFault("its user may not do this", SCHEMA_REMEDY),
    "42703": _SCHEMA_MISMATCH,
    "42883": _SCHEMA_MISMATCH,
    "42P01": _SCHEMA_MISMATCH,
    "42P05": DatabaseFault("a pooler gave the session to another", reconnect=True),
    "53": DatabaseFault("it has no connections, memory or disk left"),
    "54": _REJECTED_DATA,
    "55": DatabaseFault("what is needed was locked for too long"),
    "57": DatabaseFault("it is being stopped, or was started a moment ago", reconnect=True),
    "57014": DatabaseFault("a statement took too long", "PLATFORM_STATEMENT_SECONDS is the limit"),
    "58": DatabaseFault("its disk or system failed", reconnect=True),
    "F0": DatabaseFault("its files are wrong", reconnect=True),
    "XX": DatabaseFault("it failed inside", reconnect=True),
}
NO_ANSWER: Final = "did not answer"
_UNREACHABLE: Final = DatabaseFault(
    NO_ANSWER, "check that it runs and that PLATFORM_DATABASE_URL is right (`platform doctor`)", reconnect=True
)


def classify_error(error: DBAPIError) -> DatabaseFault | None:
    """What a failure means; None where it is the code that is wrong, which deserves a traceback."""
    code = getattr(error.orig, "sqlstate", None)
    if code:
        return FAULTS_BY_SQLSTATE.get(code) or FAULTS_BY_SQLSTATE.get(code[:2])
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return _UNREACHABLE
    if type(error) is DatabaseError:  # SQLite: "file is not a database", "disk image is malformed"
        return DatabaseFault("its file is damaged", "take back a backup; `platform doctor` looks at it")
    return None


def is_data_error(error: DBAPIError) -> bool:
    """Whether the same rows would be refused again by a database that is well."""
    meaning = classify_error(error)
    return meaning is not None and not meaning.is_unavailable
