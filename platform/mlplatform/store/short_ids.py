"""Resolves ids as people write them: any beginning that fits one row alone."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from sqlalchemy import Column, Connection, or_, select

from mlplatform.errors import InvalidInputError
from mlplatform.store.tables.alerting import alerts, silences
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.coordination import tasks
from mlplatform.store.tables.retraining import retrainings

IdKind = Literal["alert", "retraining", "task", "silence", "key"]
MIN_LENGTH: Final = 8
"""Characters of an id that are shown at least."""
MAX_LISTED: Final = 5
BATCH_SIZE: Final = 200
_ID_COLUMNS: Final[Mapping[IdKind, Column[Any]]] = {
    "alert": alerts.c.id,
    "retraining": retrainings.c.id,
    "task": tasks.c.id,
    "silence": silences.c.id,
    "key": api_keys.c.id,
}


def resolve_id(connection: Connection, kind: IdKind, prefix: str) -> str:
    """The id that begins with what somebody wrote; what fits none is given back as it is, for the caller to miss.

    Raises InvalidInputError for a beginning that several share, naming them.
    """
    if not prefix or "\0" in prefix:  # PostgreSQL refuses it as text
        return prefix
    column = _ID_COLUMNS[kind]
    query = select(column).where(column.startswith(prefix, autoescape=True)).order_by(column)
    matches = [row_id for row_id in connection.scalars(query) if row_id.startswith(prefix)]  # SQLite's LIKE has no case
    if prefix in matches or not matches:
        return prefix
    if len(matches) > 1:
        named, more = ", ".join(matches[:MAX_LISTED]), len(matches) - MAX_LISTED
        rest = f" and {more} more" if more > 0 else ""
        raise InvalidInputError(f"{kind} id {prefix!r} fits {len(matches)}: {named}{rest}; write more of it")
    return str(matches[0])


def abbreviate_ids(connection: Connection, kind: IdKind, ids: Collection[str]) -> dict[str, str]:
    """For each of these ids the shortest beginning, of MIN_LENGTH characters or more, that no other row has."""
    column, wanted = _ID_COLUMNS[kind], sorted(ids)
    prefixes: dict[str, str] = {}
    for place in range(0, len(wanted), BATCH_SIZE):
        part = wanted[place : place + BATCH_SIZE]
        alike = or_(*(column.startswith(start, autoescape=True) for start in {row_id[:MIN_LENGTH] for row_id in part}))
        every = sorted(connection.scalars(select(column).where(alike)))
        prefixes |= {row_id: _shortest_prefix(row_id, every) for row_id in part}
    return prefixes


def _shortest_prefix(identity: str, every: Collection[str]) -> str:
    shared = max((_common_prefix_length(identity, other) for other in every if other != identity), default=0)
    length = max(MIN_LENGTH, shared + 1)
    return identity[: length + 1] if identity[length - 1 : length] == "-" else identity[:length]


def _common_prefix_length(one: str, other: str) -> int:
    """How many characters two ids begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(one), len(other)))
