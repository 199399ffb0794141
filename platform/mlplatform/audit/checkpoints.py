"""Writes checkpoints of the hash chains, for the watcher and a command, unless a chain contradicts an earlier one.

A process reads its file whole once and afterwards what was added. Who writes holds the file's lock, so that watchers
may share a file. Only links are checked here, not the rows they are about.
"""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from mlplatform.audit import audit_entries, checkpoint_files, hash_chain
from mlplatform.audit.checkpoint_file import (
    Checkpoint,
    CheckpointReadState,
    checkpoint_path,
    encode_line,
    read_checkpoints,
    signing_keys,
)
from mlplatform.audit.checkpoint_files import CheckpointFile
from mlplatform.audit.checkpoint_verification import (
    CheckpointIndex,
    CheckpointLink,
    find_contradictions,
    find_new_link_faults,
)
from mlplatform.context import AppContext
from mlplatform.errors import PlatformError
from mlplatform.store.database import Database

__all__ = [
    "AuditError",
    "Checkpoint",
    "CheckpointWriter",
    "checkpoint_path",
    "checkpoint_writer",
    "inspect_checkpoint_file",
    "read_checkpoints",
    "replace_checkpoint_file",
    "signing_keys",
    "write_checkpoint",
]  # fmt: skip
ACCEPT_ACTION: Final = "accept-anchors"


class AuditError(PlatformError, RuntimeError):
    """The audit log and its checkpoints contradict each other, or no checkpoint can be written.

    `faults` are the contradictions; none where the file cannot be read or written.
    """

    faults: tuple[str, ...] = ()


class CheckpointWriter:
    """Writes checkpoints to one file; it remembers how far the file was read and checked against the chains.

    With `must_exist`, a file that the database knows to have been written and that is gone is a contradiction.
    """

    def __init__(
        self, database: Database, path: Path, load_keys: Callable[[], tuple[bytes, ...]], *, must_exist: bool
    ) -> None:
        self._database, self.path, self._load_keys, self._must_exist = database, path, load_keys, must_exist
        self._reset()

    def write(self, now: datetime) -> Checkpoint | None:
        """Write the heads that moved since the file's last word on them; None when none has.

        Raises AuditError, with nothing written, where the chains contradict any line of the file, where links since the
        newest do not follow from each other, or where the file is not what was written.
        """
        keys = self._load_keys()
        try:
            with self._database.read() as connection:
                heads = hash_chain.list_heads(connection)
                recorded_files = checkpoint_files.list_files(connection)
            if not heads and not self.path.exists():
                return None
            if self._must_exist:
                _raise_contradictions(_missing_file_faults(recorded_files, self.path))
            with _locked_file(self.path) as file:
                return self._write_locked(file, keys, now)
        except BaseException as error:
            self._reset()  # what was not checked to the end is read again
            if isinstance(error, OSError) and not isinstance(error, PlatformError):
                raise AuditError(f"anchors cannot be kept in {self.path} ({error.strerror or error})") from error
            raise

    def _reset(self) -> None:
        self._progress, self._latest_links = CheckpointReadState(), dict[str, CheckpointLink]()
        self._inode = 0

    def _write_locked(self, file: int, keys: tuple[bytes, ...], now: datetime) -> Checkpoint | None:
        stat = os.fstat(file)
        if self._inode != stat.st_ino or stat.st_size < self._progress.offset:
            self._reset()  # another file, or one that was cut short: read it whole
        self._inode = stat.st_ino
        if stat.st_size and os.pread(file, 1, stat.st_size - 1) != b"\n":
            _append(file, b"\n")  # a crash or a full disk left a line unfinished; the next begins a new one

        # 1. Read what was added to the file, and check it and the newest links against the database.
        added = CheckpointIndex()
        with self._database.read() as connection:
            recorded_files = checkpoint_files.list_files(connection)
            self._progress.line_digests = {recorded.lines: "" for recorded in recorded_files} | {
                self._progress.lines: self._progress.digest
            }
            for checkpoint in read_checkpoints(self.path, keys, self._progress):
                added.add(checkpoint)
            heads = {head.name: head for head in hash_chain.list_heads(connection)}
            self._latest_links |= {
                name: link
                for name, link in added.latest_links().items()
                if name not in self._latest_links or self._latest_links[name].number <= link.number
            }
            faults = [*self._progress.faults, *_truncation_faults(recorded_files, self._progress, self.path)]
            faults += find_contradictions(connection, added)
            _raise_contradictions(faults or find_new_link_faults(connection, self._latest_links, heads))

        # 2. Write the heads that the file does not have yet, and remember how far it goes now.
        new_heads = {
            name: (head.number, head.hash)
            for name, head in heads.items()
            if name not in self._latest_links or self._latest_links[name].hash != head.hash
        }
        if not new_heads:
            return None
        checkpoint = Checkpoint(hash_chain.canonical_time(now), new_heads, authenticated=bool(keys))
        _append(file, encode_line(checkpoint, keys, self._progress))
        self._record_file(keys, now)
        return checkpoint

    def _record_file(self, keys: tuple[bytes, ...], now: datetime) -> None:
        """Read what was just written, and let the database remember how far the file goes."""
        for checkpoint in read_checkpoints(self.path, keys, self._progress):
            self._latest_links |= {
                name: CheckpointLink(*head, checkpoint.at) for name, head in checkpoint.heads.items()
            }
        state = self._progress
        file = CheckpointFile(state.file_id, str(self.path), socket.gethostname(), state.lines, state.digest, now)
        with self._database.write() as connection:
            checkpoint_files.record_length(connection, file)


def checkpoint_writer(context: AppContext, path: Path | None = None) -> CheckpointWriter:
    """A writer to the checkpoint file of the settings, or to another one.

    Another file belongs to whoever made it, and may have been moved: that it is gone is no contradiction.
    """
    usual_path = checkpoint_path(context)
    file = usual_path if path is None else path.absolute()
    return CheckpointWriter(context.database, file, lambda: signing_keys(context), must_exist=file == usual_path)


def write_checkpoint(context: AppContext, path: Path, now: datetime) -> Checkpoint | None:
    """Write the heads that moved into a file, which is read whole for it; see `CheckpointWriter.write`."""
    return checkpoint_writer(context, path).write(now)


def inspect_checkpoint_file(
    context: AppContext, path: Path, *, copy: bool = False
) -> tuple[CheckpointIndex, list[str]]:
    """Every link in a checkpoint file, and what is wrong with the file itself; a copy may lack the newest lines.

    Read this before the chains: a checkpoint written meanwhile is then no contradiction.
    """
    with context.database.read() as connection:
        recorded_files = checkpoint_files.list_files(connection)
    state = CheckpointReadState(line_digests={recorded.lines: "" for recorded in recorded_files})
    index = CheckpointIndex()
    for checkpoint in read_checkpoints(path, signing_keys(context), state):
        index.add(checkpoint)
    faults = [*state.faults, *_truncation_faults(recorded_files, state, path, copy=copy)]
    if copy and not path.is_file():
        faults.append(f"anchors: {path} is not there")
    return index, faults if copy else [*_missing_file_faults(recorded_files, path), *faults]


def replace_checkpoint_file(context: AppContext, path: Path, reason: str, actor: str) -> Path | None:
    """Set a checkpoint file aside because a person says why it contradicts, and begin a new one; returns where it lies.

    The old file is kept beside the new one, and the log says who accepted what.
    """
    path, now = path.absolute(), context.clock()
    aside = path.with_name(f"{path.stem}.{now:%Y%m%dT%H%M%S%fZ}{path.suffix}")
    index, faults = inspect_checkpoint_file(context, path)
    with context.database.write() as connection:
        faults += find_contradictions(connection, index)
        ids = [file.id for file in checkpoint_files.list_files(connection) if file.path == str(path)]
        checkpoint_files.update_path(connection, ids, str(aside))
        details = {"reason": reason, "kept": str(aside), "faults": faults[:20]}
        audit_entries.append(connection, actor, ACCEPT_ACTION, f"anchors/{path.name}", now, details)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def _missing_file_faults(recorded_files: list[CheckpointFile], path: Path) -> list[str]:
    """One fault where a file that the database knows to have been written is gone or empty."""
    if path.is_file() and path.stat().st_size:
        return []
    return [
        f"anchors: {path} had {file.lines} lines at {file.at:%F %T} and is gone; it was written on host {file.host}: "
        "verify there, give a copy with --anchors, or accept the loss with `platform audit anchor --accept REASON`"
        for file in recorded_files
        if file.path == str(path)
    ][-1:]


def _truncation_faults(
    recorded_files: list[CheckpointFile], state: CheckpointReadState, path: Path, *, copy: bool = False
) -> list[str]:
    """How a file differs from what the database remembers of it."""
    for file in recorded_files:
        if file.id == state.file_id and file.lines > state.lines:
            return [] if copy else [f"anchors: {path} ends after line {state.lines}; {file.lines} were written"]
        if file.id == state.file_id and state.line_digests.get(file.lines) not in ("", None, file.digest):
            return [f"anchors: the first {file.lines} lines of {path} are not those that were written"]
    here = [file for file in recorded_files if file.path == str(path) and file.host == socket.gethostname()]
    if here and state.lines and state.file_id not in {file.id for file in here}:
        return [f"anchors: {path} is not the file of {here[-1].lines} lines that was written at {here[-1].at:%F %T}"]
    return []


def _raise_contradictions(faults: list[str]) -> None:
    if faults:
        listed = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        error = AuditError(
            f"the audit log contradicts its anchors, so none is written: {listed}. Look with `platform audit verify`; "
            "where you know why (a restored backup), `platform audit anchor --accept REASON` begins anew"
        )
        error.faults = tuple(faults)
        raise error


@contextmanager
def _locked_file(path: Path) -> Iterator[int]:
    """The file, open for adding to and locked against other writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _append(file: int, line: bytes) -> None:
    """Add the whole of it or nothing."""
    size, written = os.fstat(file).st_size, 0
    try:
        while written < len(line):
            written += os.write(file, line[written:])
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise
