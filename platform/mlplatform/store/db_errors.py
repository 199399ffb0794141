"""What a database's failure means: it is away, or something is wrong with what it was given; it mends nothing.

PostgreSQL says by a code of five characters (appendix A of its manual); the first two are a class. SQLite's driver says
by the kind of exception.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError

TABLES: Final = "let this version of the code upgrade the tables, or give the database's user its rights"
WAIT: Final = "it is tried again; see the database's own log when this goes on"


@dataclass(frozen=True)
class Meaning:
    """What a code means: in words, what to do, and whether the connection (with all older ones) must be made anew."""

    words: str
    remedy: str = WAIT
    reconnect: bool = False
    away: bool = True
    """Whether the database is to blame, so that the same may be tried again; not the rows it was given."""


_DATA: Final = Meaning("it refused what it was given", away=False)
_SHAPE: Final = Meaning("its tables are not those of this version", TABLES)
MEANINGS: Final = {
    "08": Meaning("the connection failed", reconnect=True),
    "22": _DATA,
    "23": _DATA,
    "25006": Meaning("it is read-only: a standby, or a failover is under way", reconnect=True),
    "25P03": Meaning("the transaction was idle for too long", reconnect=True),
    "25P04": Meaning("the transaction took too long", reconnect=True),
    "26": Meaning("a pooler gave the session to another", reconnect=True),
    "28": Meaning("it lets this user in no more", "check user and password in PLATFORM_DATABASE_URL"),
    "3D": Meaning("it has no database of this name", "check the name in PLATFORM_DATABASE_URL", reconnect=True),
    "3F": _SHAPE,
    "40": Meaning("it undid the transaction, which met others"),
    "42501": Meaning("its user may not do this", TABLES),
    "42703": _SHAPE,
    "42883": _SHAPE,
    "42P01": _SHAPE,
    "42P05": Meaning("a pooler gave the session to another", reconnect=True),
    "53": Meaning("it has no connections, memory or disk left"),
    "54": _DATA,
    "55": Meaning("what is needed was locked for too long"),
    "57": Meaning("it is being stopped, or was started a moment ago", reconnect=True),
    "57014": Meaning("a statement took too long", "PLATFORM_STATEMENT_SECONDS is the limit"),
    "58": Meaning("its disk or system failed", reconnect=True),
    "F0": Meaning("its files are wrong", reconnect=True),
    "XX": Meaning("it failed inside", reconnect=True),
}
SILENT: Final = "did not answer"
_GONE: Final = Meaning(
    SILENT, "check that it runs and that PLATFORM_DATABASE_URL is right (`platform doctor`)", reconnect=True
)


def meaning_of(error: DBAPIError) -> Meaning | None:
    """What a failure means; None where it is the code that is wrong, which deserves a traceback."""
    code = getattr(error.orig, "sqlstate", None)
    if code:
        return MEANINGS.get(code) or MEANINGS.get(code[:2])
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return _GONE
    if type(error) is DatabaseError:  # SQLite: "file is not a database", "disk image is malformed"
        return Meaning("its file is damaged", "take back a backup; `platform doctor` looks at it")
    return None


def blames_the_rows(error: DBAPIError) -> bool:
    """Whether the same rows would be refused again by a database that is well."""
    meaning = meaning_of(error)
    return meaning is not None and not meaning.away
