"""Keeps rows that were set aside on one disk until a person decides: refused by the database, or in damaged files.

They are counted from the files, whoever put them there and whenever. A file is locked while rows are added or removed,
so that servers go on meanwhile; a process that is killed at any line leaves every row in a file.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from mlplatform.recording.spool.disk_io import APPEND_FLAGS, DISK, Disk
from mlplatform.recording.spool.record_format import FRAME_HEADER, LENGTH_BYTES, PAYLOAD_PREFIX, decode_frames
from mlplatform.recording.spool.segment_files import DAMAGED_SUFFIX, damage_offset

REFUSED_FILE: Final = "refused.rows"
"""Rows that the database refused, in frames."""
UNREADABLE_FILE: Final = f"rows{DAMAGED_SUFFIX}"
"""Rows whose checksums did not agree, as they were on the disk."""
LOCKED_MARK: Final = ".taken-"
DRAFT_SUFFIX: Final = ".draft"


@dataclass(frozen=True)
class QuarantinedFile:
    """One file: how many whole rows are in it, and how many stretches of bytes that are no rows any more."""

    name: str
    at: datetime
    rows: int
    damaged: int
    size: int


@dataclass(frozen=True)
class FileContents:
    """What a file holds: whole rows, and the damaged bytes between them."""

    rows: tuple[bytes, ...]
    damaged: tuple[bytes, ...]


@dataclass(frozen=True)
class LockedFile:
    """A file that no other process adds to or removes from meanwhile."""

    name: str
    contents: FileContents


class RowQuarantine:
    """The files of rows in one folder of spools. Any process may add to them, list them and remove from them."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self._root, self._disk = root, disk
        self._count_cache: dict[tuple[str, int, int, int], QuarantinedFile] = {}

    def add(self, name: str, data: bytes) -> None:
        """Append frames to a file, all or none. Raises OSError."""
        while not self._append(self._root / name, data):
            continue  # the file was locked and renamed at that moment: a new one is begun

    def list_files(self) -> list[QuarantinedFile]:
        """Every file with what is in it, oldest first. Raises OSError."""
        files: dict[tuple[str, int, int, int], QuarantinedFile] = {}
        for name in self._list_names():
            try:
                status = self._disk.stat(self._root / name)
                key = (name, status.st_ino, status.st_size, status.st_mtime_ns)
                files[key] = self._count_cache.get(key) or self._count_file(name, status)
            except FileNotFoundError:
                continue  # restored meanwhile
        self._count_cache = files
        return sorted(files.values(), key=lambda file: (file.at, file.name))

    @contextmanager
    def lock_file(self, name: str) -> Iterator[LockedFile | None]:
        """A file's contents, the file locked against other processes; None where another holds it or it is gone.

        Raises OSError.
        """
        path = self._root / name
        try:
            file = self._disk.open(path, os.O_RDWR)
        except FileNotFoundError:
            yield None
            return
        try:
            if not self._disk.lock(file) or self._disk.fstat(file).st_nlink == 0:
                yield None
                return
            if name in (REFUSED_FILE, UNREADABLE_FILE):  # servers begin a new one
                stem, _, kind = name.rpartition(".")
                path = self._root / f"{stem}{LOCKED_MARK}{uuid4().hex[:8]}.{kind}"
                self._disk.rename(self._root / name, path)
            data = self._disk.read(file, self._disk.fstat(file).st_size, 0)
            yield LockedFile(path.name, parse_contents(data[damage_offset(name) :]))
        finally:
            self._disk.close(file)

    def rewrite(self, locked: LockedFile, remaining: Sequence[bytes]) -> None:
        """Leave only these bytes of a locked file; without any the file is removed. Raises OSError."""
        path = self._root / locked.name
        if not remaining:
            self._disk.unlink(path)
            return
        target = self._root / _without_offset(locked.name)
        draft = self._root / f".{target.name}{DRAFT_SUFFIX}"
        file = self._disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self._disk.write(file, b"".join(remaining), 0)
            self._disk.sync(file)
        finally:
            self._disk.close(file)
        self._disk.rename(draft, target)
        if target != path:
            self._disk.unlink(path)

    def _append(self, path: Path, data: bytes) -> bool:
        file = self._disk.open(path, APPEND_FLAGS)
        try:
            self._disk.lock(file, wait=True)
            status = self._disk.fstat(file)
            if status.st_nlink == 0 or self._was_renamed(path, status):
                return False
            try:
                self._disk.append(file, data)
            except OSError:
                self._disk.truncate(file, status.st_size)
                raise
        finally:
            self._disk.close(file)
        return True

    def _was_renamed(self, path: Path, status: os.stat_result) -> bool:
        try:
            return self._disk.stat(path).st_ino != status.st_ino
        except FileNotFoundError:
            return True

    def _list_names(self) -> list[str]:
        try:
            names = self._disk.list_names(self._root)
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".") and _is_quarantine_file(name)]

    def _count_file(self, name: str, status: os.stat_result) -> QuarantinedFile:
        contents = parse_contents(self._disk.read_all(self._root / name)[damage_offset(name) :])
        at = datetime.fromtimestamp(status.st_mtime, UTC)
        return QuarantinedFile(name, at, len(contents.rows), len(contents.damaged), status.st_size)


def parse_contents(data: bytes) -> FileContents:
    """The whole rows among bytes of which some may be damaged, each once; zeros at the end are nothing.

    A damaged frame header hides where the next row begins: it is searched for by what rows begin with.
    """
    rows: dict[bytes, None] = {}
    damaged: list[bytes] = []
    offset, end = 0, len(data.rstrip(b"\0"))
    while offset < end:
        if (payload := _payload_at(data, offset)) is not None:
            rows[payload] = None
            offset += FRAME_HEADER.size + len(payload)
            continue
        next_offset = _next_payload_offset(data, offset)
        damaged.append(data[offset:next_offset])
        offset = next_offset
    return FileContents(tuple(rows), tuple(damaged))


def _payload_at(data: bytes, offset: int) -> bytes | None:
    """The payload whose frame begins at an offset; None where it is not whole."""
    if offset + FRAME_HEADER.size > len(data):
        return None
    length, _ = FRAME_HEADER.unpack_from(data, offset)
    end = offset + FRAME_HEADER.size + length
    frame = next(decode_frames(data[offset:end]), None) if end <= len(data) else None
    return None if frame is None else frame.payload


def _next_payload_offset(data: bytes, offset: int) -> int:
    mark = data.find(PAYLOAD_PREFIX, offset + 1)
    while mark >= 0:
        begin = mark - LENGTH_BYTES - FRAME_HEADER.size
        if begin > offset and _payload_at(data, begin) is not None:
            return begin
        mark = data.find(PAYLOAD_PREFIX, mark + 1)
    return len(data)


def _is_quarantine_file(name: str) -> bool:
    return name == REFUSED_FILE or name.endswith(DAMAGED_SUFFIX) or (LOCKED_MARK in name and name.endswith(".rows"))


def _without_offset(name: str) -> str:
    offset = damage_offset(name)
    return name.replace(f".from-{offset}{DAMAGED_SUFFIX}", DAMAGED_SUFFIX) if offset else name
