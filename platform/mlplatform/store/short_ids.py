"""Ids as people write them: any beginning that fits one row alone; it knows nothing of what the rows mean."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from sqlalchemy import Column, Connection, or_, select

from mlplatform.errors import InvalidInputError
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.core import alerts, retrainings, silences, tasks

Noun = Literal["alert", "retraining", "task", "silence", "key"]
LEAST: Final = 8
"""Characters of an id that are shown at least."""
MOST_NAMED: Final = 5
MOST_AT_ONCE: Final = 200
_IDS: Final[Mapping[Noun, Column[Any]]] = {
    "alert": alerts.c.id,
    "retraining": retrainings.c.id,
    "task": tasks.c.id,
    "silence": silences.c.id,
    "key": api_keys.c.id,
}


def whole_id(connection: Connection, noun: Noun, written: str) -> str:
    """The id that begins with what somebody wrote; what fits none is given back as it is, for the caller to miss.

    Raises InvalidInputError for a beginning that several share, naming them.
    """
    if not written or "\0" in written:  # PostgreSQL refuses it as text
        return written
    column = _IDS[noun]
    query = select(column).where(column.startswith(written, autoescape=True)).order_by(column)
    found = [each for each in connection.scalars(query) if each.startswith(written)]  # SQLite's LIKE knows no case
    if written in found or not found:
        return written
    if len(found) > 1:
        named, more = ", ".join(found[:MOST_NAMED]), len(found) - MOST_NAMED
        rest = f" and {more} more" if more > 0 else ""
        raise InvalidInputError(f"{noun} id {written!r} fits {len(found)}: {named}{rest}; write more of it")
    return str(found[0])


def short_ids(connection: Connection, noun: Noun, ids: Collection[str]) -> dict[str, str]:
    """For each of these ids the shortest beginning, of LEAST characters or more, that no other row has."""
    column, wanted = _IDS[noun], sorted(ids)
    shown: dict[str, str] = {}
    for place in range(0, len(wanted), MOST_AT_ONCE):
        part = wanted[place : place + MOST_AT_ONCE]
        alike = or_(*(column.startswith(start, autoescape=True) for start in {each[:LEAST] for each in part}))
        every = sorted(connection.scalars(select(column).where(alike)))
        shown |= {each: _shortest(each, every) for each in part}
    return shown


def _shortest(identity: str, every: Collection[str]) -> str:
    shared = max((_alike(identity, other) for other in every if other != identity), default=0)
    length = max(LEAST, shared + 1)
    return identity[: length + 1] if identity[length - 1 : length] == "-" else identity[:length]


def _alike(one: str, other: str) -> int:
    """How many characters two ids begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(one), len(other)))
