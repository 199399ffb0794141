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
from mlplatform.audit.checkpoint_file import Anchor, Progress, file_of, key_of, keys_of, line_of, newest, read
from mlplatform.audit.checkpoint_files import AnchorFile
from mlplatform.audit.checkpoint_verification import Anchored, Link, contradictions, unfollowed
from mlplatform.context import Parts
from mlplatform.errors import PlatformError

__all__ = [
    "Anchor", "Anchoring", "AuditError", "begin_anew", "examine", "file_of", "key_of", "keys_of", "newest", "read",
    "take",
]  # fmt: skip
ACCEPT: Final = "accept-anchors"


class AuditError(PlatformError, RuntimeError):
    """The audit log and its anchors contradict each other, or no anchor can be written.

    `faults` are the contradictions; none where the file cannot be read or written.
    """

    faults: tuple[str, ...] = ()


class Anchoring:
    """One process's hold on a file of anchors; it remembers how far the file was read and held against the chains."""

    def __init__(self, parts: Parts, path: Path | None = None) -> None:
        self._parts, self.path = parts, file_of(parts) if path is None else path.absolute()
        self._forget()

    def take(self, now: datetime) -> Anchor | None:
        """Write the heads that moved since the file's last word on them; None when none has.

        Raises AuditError, with nothing written, where the chains contradict any line of the file, where links since the
        newest do not follow from each other, or where the file is not what was written.
        """
        keys = keys_of(self._parts)
        try:
            with self._parts.database.read() as connection:
                heads = hash_chain.heads(connection)
                known = checkpoint_files.listed(connection)
            if not heads and not self.path.exists():
                return None
            if self.path == file_of(self._parts):  # another file is its maker's, who may have put it elsewhere
                _refuse(_missing(known, self.path))
            with _alone(self.path) as file:
                made = self._take(file, keys, now)
        except BaseException as error:
            self._forget()  # what was not held against the chains to the end is read again
            if isinstance(error, OSError) and not isinstance(error, PlatformError):
                raise AuditError(f"anchors cannot be kept in {self.path} ({error.strerror or error})") from error
            raise
        return made

    def _forget(self) -> None:
        self._progress, self._newest = Progress(), dict[str, Link]()
        self._inode = 0

    def _take(self, file: int, keys: tuple[bytes, ...], now: datetime) -> Anchor | None:
        stat = os.fstat(file)
        if self._inode != stat.st_ino or stat.st_size < self._progress.offset:
            self._forget()  # another file, or one that was cut short: read it whole
        self._inode = stat.st_ino
        if stat.st_size and os.pread(file, 1, stat.st_size - 1) != b"\n":
            _append(file, b"\n")  # a crash or a full disk left a line unfinished; the next begins a new one
        fresh = Anchored()
        with self._parts.database.read() as connection:
            known = checkpoint_files.listed(connection)
            self._progress.marks = {each.lines: "" for each in known} | {self._progress.lines: self._progress.digest}
            for anchor in read(self.path, keys, self._progress):
                fresh.add(anchor)
            heads = {head.name: head for head in hash_chain.heads(connection)}
            self._newest |= {
                name: link
                for name, link in fresh.newest().items()
                if name not in self._newest or self._newest[name].number <= link.number
            }
            faults = [*self._progress.faults, *_cut(known, self._progress, self.path)]
            faults += contradictions(connection, fresh)
            _refuse(faults or unfollowed(connection, self._newest, heads))
        moved = {
            name: (head.number, head.hash)
            for name, head in heads.items()
            if name not in self._newest or self._newest[name].hash != head.hash
        }
        if not moved:
            return None
        made = Anchor(hash_chain.moment(now), moved, proved=bool(keys))
        _append(file, line_of(made, keys, self._progress))
        self._remember(keys, now)
        return made

    def _remember(self, keys: tuple[bytes, ...], now: datetime) -> None:
        """Read what was just written, and let the database know how far the file goes."""
        for anchor in read(self.path, keys, self._progress):
            self._newest |= {name: Link(*head, anchor.at) for name, head in anchor.heads.items()}
        at = self._progress
        written = AnchorFile(at.file, str(self.path), socket.gethostname(), at.lines, at.digest, now)
        with self._parts.database.write() as connection:
            checkpoint_files.remember(connection, written)


def take(parts: Parts, path: Path, now: datetime) -> Anchor | None:
    """Write the heads that moved into a file, which is read whole for it; see `Anchoring.take`."""
    return Anchoring(parts, path).take(now)


def examine(parts: Parts, path: Path, *, copy: bool = False) -> tuple[Anchored, list[str]]:
    """Everything a file of anchors tells, and what is wrong with the file itself; a copy may lack the newest lines.

    Read this before the chains: what is anchored meanwhile is then no contradiction.
    """
    with parts.database.read() as connection:
        known = checkpoint_files.listed(connection)
    progress, anchored = Progress(marks={each.lines: "" for each in known}), Anchored()
    for anchor in read(path, keys_of(parts), progress):
        anchored.add(anchor)
    faults = [*progress.faults, *_cut(known, progress, path, copy=copy)]
    if copy and not path.is_file():
        faults.append(f"anchors: {path} is not there")
    return anchored, faults if copy else [*_missing(known, path), *faults]


def begin_anew(parts: Parts, path: Path, reason: str, actor: str) -> Path | None:
    """Put a file of anchors aside because a person says why it contradicts, and begin a new one; returns where it lies.

    The old file is kept beside the new one, and the log says who accepted what.
    """
    path, now = path.absolute(), parts.clock()
    aside = path.with_name(f"{path.stem}.{now:%Y%m%dT%H%M%S%fZ}{path.suffix}")
    anchored, faults = examine(parts, path)
    with parts.database.write() as connection:
        faults += contradictions(connection, anchored)
        ids = [each.id for each in checkpoint_files.listed(connection) if each.path == str(path)]
        checkpoint_files.moved(connection, ids, str(aside))
        details = {"reason": reason, "kept": str(aside), "faults": faults[:20]}
        audit_entries.note(connection, actor, ACCEPT, f"anchors/{path.name}", now, details)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def _missing(known: list[AnchorFile], path: Path) -> list[str]:
    """That a file is gone, or is empty, which the database knows to have been written."""
    if path.is_file() and path.stat().st_size:
        return []
    return [
        f"anchors: {path} had {each.lines} lines at {each.at:%F %T} and is gone; it was written on host {each.host}: "
        "verify there, give a copy with --anchors, or accept the loss with `platform audit anchor --accept REASON`"
        for each in known
        if each.path == str(path)
    ][-1:]


def _cut(known: list[AnchorFile], at: Progress, path: Path, *, copy: bool = False) -> list[str]:
    """How a file differs from what the database remembers of it."""
    for each in known:
        if each.id == at.file and each.lines > at.lines:
            return [] if copy else [f"anchors: {path} ends after line {at.lines}; {each.lines} were written"]
        if each.id == at.file and at.marks.get(each.lines) not in ("", None, each.digest):
            return [f"anchors: the first {each.lines} lines of {path} are not those that were written"]
    here = [each for each in known if each.path == str(path) and each.host == socket.gethostname()]
    if here and at.lines and at.file not in {each.id for each in here}:
        return [f"anchors: {path} is not the file of {here[-1].lines} lines that was written at {here[-1].at:%F %T}"]
    return []


def _refuse(faults: list[str]) -> None:
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        error = AuditError(
            f"the audit log contradicts its anchors, so none is written: {shown}. Look with `platform audit verify`; "
            "where you know why (a restored backup), `platform audit anchor --accept REASON` begins anew"
        )
        error.faults = tuple(faults)
        raise error


@contextmanager
def _alone(path: Path) -> Iterator[int]:
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
