"""The segment files of a spool: their names, what is measured of them, and how far they were sent; it moves no row."""

import errno
import json
import logging
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.framing import frames, measured, needed

log = logging.getLogger(__name__)
SUFFIX: Final = ".rows"
DAMAGED: Final = ".damaged"
FROM: Final = ".from-"
POSITION: Final = "position"
CHUNK_BYTES: Final = 2**20


@dataclass
class Segment:
    """One file: how many bytes and whole rows it holds, and how much of that was sent; `torn` is what follows them."""

    size: int = 0
    rows: int = 0
    sent: int = 0
    offset: int = 0
    torn: bool = False


@dataclass(frozen=True)
class Batch:
    """The next rows, all of one segment: `rows` of them, ending at `end`; `data` is their frames as they lie there."""

    segment: int
    end: int
    rows: int
    data: bytes

    def payloads(self) -> tuple[bytes | None, ...]:
        """The rows; None for one that is damaged."""
        return tuple(frame.payload for frame in frames(self.data))

    def frames(self) -> tuple[bytes, ...]:
        """The rows with their heads, damaged or not."""
        ends = [0, *(frame.end for frame in frames(self.data))]
        return tuple(self.data[begin:end] for begin, end in pairwise(ends))


def name_of(number: int) -> str:
    """The segment's file."""
    return f"{number:010d}{SUFFIX}"


def aside_name(folder: Path, number: int, offset: int) -> Path:
    """Where a segment goes of which the bytes from an offset on are no rows."""
    return folder.parent / f"{folder.name}-{name_of(number)}{FROM}{offset}{DAMAGED}"


def offset_of(name: str) -> int:
    """The offset from which a file that was set aside is damaged, as its name says."""
    _, named, offset = name.removesuffix(DAMAGED).rpartition(FROM)
    return int(offset) if named and offset.isdecimal() else 0


def found(disk: Disk, folder: Path, at: tuple[int, int]) -> dict[int, Segment]:
    """What the folder's files hold, of which everything before a position was sent. Raises OSError."""
    numbers = [int(name.removesuffix(SUFFIX)) for name in disk.names(folder) if _is_segment(name)]
    return {number: _measured(disk, folder / name_of(number), _sent(number, at)) for number in numbers}


def position(disk: Disk, folder: Path) -> tuple[int, int]:
    """How far the rows were sent, as the folder says; from the beginning where it says nothing sensible.

    Raises OSError where it cannot be asked: rows that were sent and erased since must not be sent again for that.
    """
    try:
        told = json.loads(disk.contents(folder / POSITION))
        return int(told["segment"]), int(told["offset"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return (0, 0)


def keep_position(disk: Disk, folder: Path, at: tuple[int, int]) -> None:
    """Write the position down, whole or not at all. Raises OSError."""
    draft = folder / f"{POSITION}.draft"
    file = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        disk.write(file, json.dumps({"segment": at[0], "offset": at[1]}).encode(), 0)
    finally:
        disk.close(file)
    disk.rename(draft, folder / POSITION)


def next_frames(disk: Disk, path: Path, offset: int, size: int, most: int) -> tuple[int, bytes]:
    """The next whole frames of the file's first `size` bytes, at most so many: how many, and their bytes.

    Raises OSError where the file cannot be read, which says nothing about what is in it.
    """
    file = disk.open(path)
    try:
        data = disk.read(file, min(CHUNK_BYTES, size - offset), offset)
        if (longer := needed(data)) > len(data) and longer <= size - offset:
            data += disk.read(file, longer - len(data), offset + len(data))
    finally:
        disk.close(file)
    rows, end = measured(data, most=most)
    return rows, data[:end]


def gone(disk: Disk, folder: Path, error: OSError) -> bool:
    """Whether an error says that a file is no longer in its folder; where the folder is away, it says nothing."""
    if error.errno != errno.ENOENT:
        return False
    try:
        disk.find(folder)
    except OSError:
        return False
    return True


def _is_segment(name: str) -> bool:
    return name.endswith(SUFFIX) and name.removesuffix(SUFFIX).isdecimal()


def _sent(number: int, at: tuple[int, int]) -> int | None:
    """The offset before which a segment was sent; None for all of it."""
    if number < at[0]:
        return None
    return at[1] if number == at[0] else 0


def _measured(disk: Disk, path: Path, sent_until: int | None) -> Segment:
    """The file as far as its rows are whole; what follows is room, was torn in mid-write and had no answer, or damage.

    A row that was torn in mid-write has no length yet. A length that does not fit is none that was written.
    """
    data = disk.contents(path)  # a file is a few MiB
    rows, end = measured(data)
    if torn := len(data[end:].rstrip(b"\0")):
        log.warning("%s ends in %d torn byte(s)", path, torn)
    offset = end if sent_until is None else min(sent_until, end)
    left, _ = measured(data, offset)
    return Segment(end, rows, rows - left, offset, torn=any(data[end : end + 4]))
