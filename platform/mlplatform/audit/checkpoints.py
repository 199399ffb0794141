"""Anchors taken: the watcher and a command write down the heads of chains, unless these contradict an earlier anchor.

A process reads its file whole once and afterwards what was added. Who writes holds the file's lock, so that watchers
may share a file. It verifies links, not rows.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
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
    latest_by_chain,
    read_checkpoints,
    signing_key,
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

__all__ = [
    "AuditError",
    "Checkpoint",
    "CheckpointWriter",
    "checkpoint_path",
    "inspect_checkpoint_file",
    "latest_by_chain",
    "read_checkpoints",
    "replace_checkpoint_file",
    "signing_key",
    "signing_keys",
    "write_checkpoint",
]  # fmt: skip
ACCEPT_ACTION: Final = "accept-anchors"


class AuditError(PlatformError, RuntimeError):
    """The audit log and its anchors contradict each other, or no anchor can be written.

    `faults` are the contradictions; none where the file cannot be read or written.
    """

    faults: tuple[str, ...] = ()


class CheckpointWriter:
    """One process's hold on a file of anchors; it remembers how far the file was read and held against the chains."""

    def __init__(self, context: AppContext, path: Path | None = None) -> None:
        self._context, self.path = context, checkpoint_path(context) if path is None else path.absolute()
        self._reset()

    def write(self, now: datetime) -> Checkpoint | None:
        """Write the heads that moved since the file's last word on them; None when none has.

        Raises AuditError, with nothing written, where the chains contradict any line of the file, where links since the
        newest do not follow from each other, or where the file is not what was written.
        """
        keys = signing_keys(self._context)
        try:
            with self._context.database.read() as connection:
                heads = hash_chain.list_heads(connection)
                known = checkpoint_files.list_files(connection)
            if not heads and not self.path.exists():
                return None
            if self.path == checkpoint_path(
                self._context
            ):  # another file is its maker's, who may have put it elsewhere
                _raise_contradictions(_missing_file_faults(known, self.path))
            with _locked_file(self.path) as file:
                made = self._write_locked(file, keys, now)
        except BaseException as error:
            self._reset()  # what was not held against the chains to the end is read again
            if isinstance(error, OSError) and not isinstance(error, PlatformError):
                raise AuditError(f"anchors cannot be kept in {self.path} ({error.strerror or error})") from error
            raise
        return made

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
        fresh = CheckpointIndex()
        with self._context.database.read() as connection:
            known = checkpoint_files.list_files(connection)
            self._progress.line_digests = {each.lines: "" for each in known} | {
                self._progress.lines: self._progress.digest
            }
            for anchor in read_checkpoints(self.path, keys, self._progress):
                fresh.add(anchor)
            heads = {head.name: head for head in hash_chain.list_heads(connection)}
            self._latest_links |= {
                name: link
                for name, link in fresh.latest_links().items()
                if name not in self._latest_links or self._latest_links[name].number <= link.number
            }
            faults = [*self._progress.faults, *_truncation_faults(known, self._progress, self.path)]
            faults += find_contradictions(connection, fresh)
            _raise_contradictions(faults or find_new_link_faults(connection, self._latest_links, heads))
        moved = {
            name: (head.number, head.hash)
            for name, head in heads.items()
            if name not in self._latest_links or self._latest_links[name].hash != head.hash
        }
        if not moved:
            return None
        made = Checkpoint(hash_chain.canonical_time(now), moved, authenticated=bool(keys))
        _append(file, encode_line(made, keys, self._progress))
        self._record_file(keys, now)
        return made

    def _record_file(self, keys: tuple[bytes, ...], now: datetime) -> None:
        """Read what was just written, and let the database know how far the file goes."""
        for anchor in read_checkpoints(self.path, keys, self._progress):
            self._latest_links |= {name: CheckpointLink(*head, anchor.at) for name, head in anchor.heads.items()}
        at = self._progress
        written = CheckpointFile(at.file_id, str(self.path), socket.gethostname(), at.lines, at.digest, now)
        with self._context.database.write() as connection:
            checkpoint_files.record_length(connection, written)


def write_checkpoint(context: AppContext, path: Path, now: datetime) -> Checkpoint | None:
    """Write the heads that moved into a file, which is read whole for it; see `Anchoring.take`."""
    return CheckpointWriter(context, path).write(now)


def inspect_checkpoint_file(
    context: AppContext, path: Path, *, copy: bool = False
) -> tuple[CheckpointIndex, list[str]]:
    """Everything a file of anchors tells, and what is wrong with the file itself; a copy may lack the newest lines.

    Read this before the chains: what is anchored meanwhile is then no contradiction.
    """
    with context.database.read() as connection:
        known = checkpoint_files.list_files(connection)
    progress, anchored = CheckpointReadState(line_digests={each.lines: "" for each in known}), CheckpointIndex()
    for anchor in read_checkpoints(path, signing_keys(context), progress):
        anchored.add(anchor)
    faults = [*progress.faults, *_truncation_faults(known, progress, path, copy=copy)]
    if copy and not path.is_file():
        faults.append(f"anchors: {path} is not there")
    return anchored, faults if copy else [*_missing_file_faults(known, path), *faults]


def replace_checkpoint_file(context: AppContext, path: Path, reason: str, actor: str) -> Path | None:
    """Put a file of anchors aside because a person says why it contradicts, and begin a new one; returns where it lies.

    The old file is kept beside the new one, and the log says who accepted what.
    """
    path, now = path.absolute(), context.clock()
    aside = path.with_name(f"{path.stem}.{now:%Y%m%dT%H%M%S%fZ}{path.suffix}")
    anchored, faults = inspect_checkpoint_file(context, path)
    with context.database.write() as connection:
        faults += find_contradictions(connection, anchored)
        ids = [each.id for each in checkpoint_files.list_files(connection) if each.path == str(path)]
        checkpoint_files.update_path(connection, ids, str(aside))
        details = {"reason": reason, "kept": str(aside), "faults": faults[:20]}
        audit_entries.append(connection, actor, ACCEPT_ACTION, f"anchors/{path.name}", now, details)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def _missing_file_faults(recorded_files: list[CheckpointFile], path: Path) -> list[str]:
    """That a file is gone, or is empty, which the database knows to have been written."""
    if path.is_file() and path.stat().st_size:
        return []
    return [
        f"anchors: {path} had {each.lines} lines at {each.at:%F %T} and is gone; it was written on host {each.host}: "
        "verify there, give a copy with --anchors, or accept the loss with `platform audit anchor --accept REASON`"
        for each in recorded_files
        if each.path == str(path)
    ][-1:]


def _truncation_faults(
    recorded_files: list[CheckpointFile], at: CheckpointReadState, path: Path, *, copy: bool = False
) -> list[str]:
    """How a file differs from what the database remembers of it."""
    for each in recorded_files:
        if each.id == at.file_id and each.lines > at.lines:
            return [] if copy else [f"anchors: {path} ends after line {at.lines}; {each.lines} were written"]
        if each.id == at.file_id and at.line_digests.get(each.lines) not in ("", None, each.digest):
            return [f"anchors: the first {each.lines} lines of {path} are not those that were written"]
    here = [each for each in recorded_files if each.path == str(path) and each.host == socket.gethostname()]
    if here and at.lines and at.file_id not in {each.id for each in here}:
        return [f"anchors: {path} is not the file of {here[-1].lines} lines that was written at {here[-1].at:%F %T}"]
    return []


def _raise_contradictions(faults: list[str]) -> None:
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        error = AuditError(
            f"the audit log contradicts its anchors, so none is written: {shown}. Look with `platform audit verify`; "
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
