"""Rows that were set aside, written into the database after all or given up, as a person decides.

A row is removed from its file only after its commit, and the database takes an id once: whoever is killed at any line
asks again and doubles nothing. Servers and other processes go on meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.recording.db_writer import ThreadWriter
from mlplatform.recording.spool.framing import encode_frames
from mlplatform.recording.spool.quarantined_rows import LockedFile, QuarantinedFile, RowQuarantine

BATCH_SIZE = 500


@dataclass(frozen=True)
class RecoveryResult:
    """What became of one file: rows written now or known already, and what is left in it under which name."""

    name: str
    restored: int
    refused: int
    damaged: int


def list_files(context: AppContext) -> list[QuarantinedFile]:
    """Every file of rows that were set aside on this disk, oldest first."""
    return _open_directory(context).list_files()


def restore(context: AppContext, name: str | None, actor: str) -> list[RecoveryResult]:
    """Write the rows of one file, or of all, into the database; what it refuses and what is damaged stays.

    Raises NotFoundError for a name that is not there and ConflictError where somebody else takes from it.
    """
    asides = _open_directory(context)
    return [_restore_file(context, asides, each, actor) for each in _resolve_names(asides, name)]


def discard(context: AppContext, name: str, actor: str) -> RecoveryResult:
    """Give up what one file holds, for good; the audit log says who did."""
    asides = _open_directory(context)
    [found] = _resolve_names(asides, name)
    with asides.lock_file(found) as taken:
        if taken is None:
            raise _in_use_error(name)
        given_up = RecoveryResult(taken.name, 0, len(taken.contents.rows), len(taken.contents.damaged))
        _record_action(context, actor, "discard-rows", given_up)
        asides.rewrite(taken, ())
    return given_up


def _open_directory(context: AppContext) -> RowQuarantine:
    return RowQuarantine(context.settings.spool_folder)


def _resolve_names(asides: RowQuarantine, name: str | None) -> list[str]:
    names = [each.name for each in asides.list_files()]
    if name is None:
        return names
    if name not in names:
        raise NotFoundError(f"nothing was set aside as {name!r}; there is: {', '.join(names) or 'nothing'}")
    return [name]


def _restore_file(context: AppContext, asides: RowQuarantine, name: str, actor: str) -> RecoveryResult:
    with asides.lock_file(name) as taken:
        if taken is None:
            raise _in_use_error(name)
        refused = _write_rows(context, taken)
        left = [*taken.contents.damaged, *(encode_frames([row]) for row in refused)]
        told = RecoveryResult(
            taken.name, len(taken.contents.rows) - len(refused), len(refused), len(taken.contents.damaged)
        )
        if told.restored:
            _record_action(context, actor, "restore-rows", told)
        asides.rewrite(taken, left)
    return told


def _write_rows(context: AppContext, taken: LockedFile) -> Sequence[bytes]:
    """Write the rows, each once; returns those that the database refuses. Raises StoreUnavailableError."""
    rows, refused = taken.contents.rows, list[bytes]()
    writer = ThreadWriter(context.database)
    for begin in range(0, len(rows), BATCH_SIZE):
        portion = rows[begin : begin + BATCH_SIZE]
        refused += [portion[place] for place in writer.write(encode_frames(portion), context.instance)]
    return refused


def _record_action(context: AppContext, actor: str, action: str, result: RecoveryResult) -> None:
    details = {"restored": result.restored, "refused": result.refused, "damaged": result.damaged}
    with context.database.write() as connection:
        audit_entries.append(connection, actor, action, f"spool/{result.name}", context.clock(), details)


def _in_use_error(name: str) -> ConflictError:
    return ConflictError(f"{name} is or was taken by another process; look again with `platform recording list`")
