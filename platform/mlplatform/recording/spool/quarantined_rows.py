"""Rows that were set aside on one disk until a person decides: refused by the database, or in damaged files.

They are counted from the files, whoever put them there and whenever. A file is locked while it is added to or taken
from, so that servers go on meanwhile; what is killed at any line leaves every row in a file. It knows no database.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from mlplatform.recording.spool.codec import BEGINNING, LENGTH_BYTES
from mlplatform.recording.spool.disk_io import APPEND, DISK, Disk
from mlplatform.recording.spool.framing import HEAD, frames
from mlplatform.recording.spool.segment_files import DAMAGED, offset_of

REFUSED: Final = "refused.rows"
"""Rows that the database refused, in frames."""
UNREADABLE: Final = f"rows{DAMAGED}"
"""Rows whose checksums did not agree, as they lay on the disk."""
TAKEN: Final = ".taken-"
DRAFT: Final = ".draft"


@dataclass(frozen=True)
class Aside:
    """One file: how many whole rows are in it, and how many stretches of bytes that are no rows any more."""

    name: str
    at: datetime
    rows: int
    damaged: int
    size: int


@dataclass(frozen=True)
class Contents:
    """What a file holds: whole rows, and between them what is damaged."""

    rows: tuple[bytes, ...]
    damaged: tuple[bytes, ...]


@dataclass(frozen=True)
class Taken:
    """A file that nobody else adds to or takes from meanwhile."""

    name: str
    contents: Contents


class Asides:
    """The files of one spools' folder. Any process may add to them, list them and take from them."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self._root, self._disk = root, disk
        self._counted: dict[tuple[str, int, int, int], Aside] = {}

    def add(self, name: str, data: bytes) -> None:
        """Put frames behind those of a file, all or none. Raises OSError."""
        while not self._added(self._root / name, data):
            continue  # the file was taken at that moment: a new one is begun

    def listed(self) -> list[Aside]:
        """Every file with what is in it, oldest first. Raises OSError."""
        seen: dict[tuple[str, int, int, int], Aside] = {}
        for name in self._names():
            try:
                status = self._disk.find(self._root / name)
                key = (name, status.st_ino, status.st_size, status.st_mtime_ns)
                seen[key] = self._counted.get(key) or self._counted_now(name, status)
            except FileNotFoundError:
                continue  # taken back meanwhile
        self._counted = seen
        return sorted(seen.values(), key=lambda each: (each.at, each.name))

    @contextmanager
    def taken(self, name: str) -> Iterator[Taken | None]:
        """A file's contents, and the file out of the way of everybody else; None where another holds it or it is gone.

        Raises OSError.
        """
        path = self._root / name
        try:
            file = self._disk.open(path, os.O_RDWR)
        except FileNotFoundError:
            yield None
            return
        try:
            if not self._disk.lock(file) or self._disk.status(file).st_nlink == 0:
                yield None
                return
            if name in (REFUSED, UNREADABLE):  # servers begin a new one
                stem, _, kind = name.rpartition(".")
                path = self._root / f"{stem}{TAKEN}{uuid4().hex[:8]}.{kind}"
                self._disk.rename(self._root / name, path)
            data = self._disk.read(file, self._disk.status(file).st_size, 0)
            yield Taken(path.name, contents_of(data[offset_of(name) :]))
        finally:
            self._disk.close(file)

    def replace(self, taken: Taken, left: Sequence[bytes]) -> None:
        """Leave only these bytes of a file that is taken, or nothing of it. Raises OSError."""
        path = self._root / taken.name
        if not left:
            self._disk.unlink(path)
            return
        kept = self._root / _without_offset(taken.name)
        draft = self._root / f".{kept.name}{DRAFT}"
        file = self._disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self._disk.write(file, b"".join(left), 0)
            self._disk.sync(file)
        finally:
            self._disk.close(file)
        self._disk.rename(draft, kept)
        if kept != path:
            self._disk.unlink(path)

    def _added(self, path: Path, data: bytes) -> bool:
        file = self._disk.open(path, APPEND)
        try:
            self._disk.lock(file, wait=True)
            status = self._disk.status(file)
            if status.st_nlink == 0 or self._renamed(path, status):
                return False
            try:
                self._disk.append(file, data)
            except OSError:
                self._disk.truncate(file, status.st_size)
                raise
        finally:
            self._disk.close(file)
        return True

    def _renamed(self, path: Path, status: os.stat_result) -> bool:
        try:
            return self._disk.find(path).st_ino != status.st_ino
        except FileNotFoundError:
            return True

    def _names(self) -> list[str]:
        try:
            names = self._disk.names(self._root)
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".") and _is_aside(name)]

    def _counted_now(self, name: str, status: os.stat_result) -> Aside:
        contents = contents_of(self._disk.contents(self._root / name)[offset_of(name) :])
        at = datetime.fromtimestamp(status.st_mtime, UTC)
        return Aside(name, at, len(contents.rows), len(contents.damaged), status.st_size)


def contents_of(data: bytes) -> Contents:
    """The whole rows among bytes of which some may be damaged, each once; zeros at the end are nothing.

    A damaged head hides where the next row begins: it is looked for by what rows begin with.
    """
    rows: dict[bytes, None] = {}
    damaged: list[bytes] = []
    place, end = 0, len(data.rstrip(b"\0"))
    while place < end:
        if (payload := _whole(data, place)) is not None:
            rows[payload] = None
            place += HEAD.size + len(payload)
            continue
        following = _next_whole(data, place)
        damaged.append(data[place:following])
        place = following
    return Contents(tuple(rows), tuple(damaged))


def _whole(data: bytes, place: int) -> bytes | None:
    """The payload that begins there, where it is whole."""
    if place + HEAD.size > len(data):
        return None
    length, _ = HEAD.unpack_from(data, place)
    end = place + HEAD.size + length
    frame = next(frames(data[place:end]), None) if end <= len(data) else None
    return None if frame is None else frame.payload


def _next_whole(data: bytes, place: int) -> int:
    mark = data.find(BEGINNING, place + 1)
    while mark >= 0:
        begin = mark - LENGTH_BYTES - HEAD.size
        if begin > place and _whole(data, begin) is not None:
            return begin
        mark = data.find(BEGINNING, mark + 1)
    return len(data)


def _is_aside(name: str) -> bool:
    return name == REFUSED or name.endswith(DAMAGED) or (TAKEN in name and name.endswith(".rows"))


def _without_offset(name: str) -> str:
    offset = offset_of(name)
    return name.replace(f".from-{offset}{DAMAGED}", DAMAGED) if offset else name
