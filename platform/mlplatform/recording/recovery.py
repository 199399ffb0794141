"""Rows that were set aside, written into the database after all or given up, as a person decides.

A row is removed from its file only after its commit, and the database takes an id once: whoever is killed at any line
asks again and doubles nothing. Servers and other processes go on meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlplatform.audit import audit_entries
from mlplatform.context import Parts
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.recording.db_writer import ThreadWriter
from mlplatform.recording.spool.framing import framed
from mlplatform.recording.spool.quarantined_rows import Aside, Asides, Taken

PORTION = 500


@dataclass(frozen=True)
class Restored:
    """What became of one file: rows written now or known already, and what is left in it under which name."""

    name: str
    restored: int
    refused: int
    damaged: int


def listed(parts: Parts) -> list[Aside]:
    """Every file of rows that were set aside on this disk, oldest first."""
    return _asides(parts).listed()


def restore(parts: Parts, name: str | None, actor: str) -> list[Restored]:
    """Write the rows of one file, or of all, into the database; what it refuses and what is damaged stays.

    Raises NotFoundError for a name that is not there and ConflictError where somebody else takes from it.
    """
    asides = _asides(parts)
    return [_restored(parts, asides, each, actor) for each in _named(asides, name)]


def discard(parts: Parts, name: str, actor: str) -> Restored:
    """Give up what one file holds, for good; the audit log says who did."""
    asides = _asides(parts)
    [found] = _named(asides, name)
    with asides.taken(found) as taken:
        if taken is None:
            raise _held(name)
        given_up = Restored(taken.name, 0, len(taken.contents.rows), len(taken.contents.damaged))
        _note(parts, actor, "discard-rows", given_up)
        asides.replace(taken, ())
    return given_up


def _asides(parts: Parts) -> Asides:
    return Asides(parts.settings.spool_folder)


def _named(asides: Asides, name: str | None) -> list[str]:
    names = [each.name for each in asides.listed()]
    if name is None:
        return names
    if name not in names:
        raise NotFoundError(f"nothing was set aside as {name!r}; there is: {', '.join(names) or 'nothing'}")
    return [name]


def _restored(parts: Parts, asides: Asides, name: str, actor: str) -> Restored:
    with asides.taken(name) as taken:
        if taken is None:
            raise _held(name)
        refused = _written(parts, taken)
        left = [*taken.contents.damaged, *(framed([row]) for row in refused)]
        told = Restored(taken.name, len(taken.contents.rows) - len(refused), len(refused), len(taken.contents.damaged))
        if told.restored:
            _note(parts, actor, "restore-rows", told)
        asides.replace(taken, left)
    return told


def _written(parts: Parts, taken: Taken) -> Sequence[bytes]:
    """Write the rows, each once; returns those that the database refuses. Raises StoreUnavailableError."""
    rows, refused = taken.contents.rows, list[bytes]()
    writer = ThreadWriter(parts.database)
    for begin in range(0, len(rows), PORTION):
        portion = rows[begin : begin + PORTION]
        refused += [portion[place] for place in writer.write(framed(portion), parts.instance)]
    return refused


def _note(parts: Parts, actor: str, action: str, told: Restored) -> None:
    details = {"restored": told.restored, "refused": told.refused, "damaged": told.damaged}
    with parts.database.write() as connection:
        audit_entries.note(connection, actor, action, f"spool/{told.name}", parts.clock(), details)


def _held(name: str) -> ConflictError:
    return ConflictError(f"{name} is or was taken by another process; look again with `platform recording list`")
