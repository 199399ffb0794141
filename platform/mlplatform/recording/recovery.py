"""Writes rows that were set aside to the database after all, or discards them, as a person decides.

A row is removed from its file only after its commit, and the database takes an id once: where the process is killed,
the command is given again and doubles nothing. Servers and other processes go on meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.recording.spool.quarantined_rows import QuarantinedFile, RowQuarantine
from mlplatform.recording.spool.record_format import encode_frames
from mlplatform.recording.thread_writer import ThreadWriter

BATCH_SIZE: Final = 500
"""Rows written in one transaction."""


@dataclass(frozen=True)
class RecoveryResult:
    """What became of one file: rows written now or recorded already, and what is left in it under which name."""

    name: str
    restored: int
    refused: int
    damaged: int


def list_files(context: AppContext) -> list[QuarantinedFile]:
    """Every file of rows that were set aside on this disk, oldest first."""
    return _open_quarantine(context).list_files()


def restore(context: AppContext, name: str | None, actor: str) -> list[RecoveryResult]:
    """Write the rows of one file, or of all, to the database; what it refuses and what is damaged stays in the file.

    Raises NotFoundError for a name that is not there and ConflictError where another process has the file.
    """
    quarantine = _open_quarantine(context)
    return [_restore_file(context, quarantine, file_name, actor) for file_name in _resolve_names(quarantine, name)]


def discard(context: AppContext, name: str, actor: str) -> RecoveryResult:
    """Delete what one file holds, for good; the audit log says who did."""
    quarantine = _open_quarantine(context)
    [file_name] = _resolve_names(quarantine, name)
    with quarantine.lock_file(file_name) as locked:
        if locked is None:
            raise _in_use_error(name)
        discarded = RecoveryResult(locked.name, 0, len(locked.contents.rows), len(locked.contents.damaged))
        _record_action(context, actor, "discard-rows", discarded)
        quarantine.rewrite(locked, ())
    return discarded


def _open_quarantine(context: AppContext) -> RowQuarantine:
    return RowQuarantine(context.settings.spool_folder)


def _resolve_names(quarantine: RowQuarantine, name: str | None) -> list[str]:
    names = [file.name for file in quarantine.list_files()]
    if name is None:
        return names
    if name not in names:
        raise NotFoundError(f"nothing was set aside as {name!r}; there is: {', '.join(names) or 'nothing'}")
    return [name]


def _restore_file(context: AppContext, quarantine: RowQuarantine, name: str, actor: str) -> RecoveryResult:
    with quarantine.lock_file(name) as locked:
        if locked is None:
            raise _in_use_error(name)
        rows, damaged = locked.contents.rows, locked.contents.damaged
        refused = _write_rows(context, rows)
        result = RecoveryResult(locked.name, len(rows) - len(refused), len(refused), len(damaged))
        if result.restored:
            _record_action(context, actor, "restore-rows", result)
        quarantine.rewrite(locked, [*damaged, *(encode_frames([row]) for row in refused)])
    return result


def _write_rows(context: AppContext, rows: Sequence[bytes]) -> Sequence[bytes]:
    """Write the rows, each once; returns those that the database refuses. Raises StoreUnavailableError."""
    refused = list[bytes]()
    writer = ThreadWriter(context.database)
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        refused += [batch[index] for index in writer.write(encode_frames(batch), context.instance)]
    return refused


def _record_action(context: AppContext, actor: str, action: str, result: RecoveryResult) -> None:
    details = {"restored": result.restored, "refused": result.refused, "damaged": result.damaged}
    with context.database.write() as connection:
        audit_entries.append(connection, actor, action, f"spool/{result.name}", context.clock(), details)


def _in_use_error(name: str) -> ConflictError:
    return ConflictError(f"{name} is or was taken by another process; look again with `platform recording list`")
