"""The segment files of a spool: their names, what they hold, and how far their rows were sent."""

import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.record_format import decode_frames, frame_size, scan_frames

log = logging.getLogger(__name__)
SEGMENT_SUFFIX: Final = ".rows"
DAMAGED_SUFFIX: Final = ".damaged"
OFFSET_MARK: Final = ".from-"
POSITION_FILE: Final = "position"
READ_BYTES: Final = 2**20
"""Bytes of a segment that are read for one batch, unless its first row is longer."""


@dataclass
class LogSegment:
    """One file: how many bytes and whole rows it holds, how much of that was sent, whether damage follows them."""

    size_bytes: int = 0
    row_count: int = 0
    sent_rows: int = 0
    sent_offset: int = 0
    has_torn_tail: bool = False

    @property
    def unsent_rows(self) -> int:
        """Rows that wait to be sent."""
        return self.row_count - self.sent_rows

    @property
    def is_sent(self) -> bool:
        """Whether every row was sent."""
        return self.sent_offset >= self.size_bytes


@dataclass(frozen=True)
class RowBatch:
    """The next rows, all of one segment, ending at offset `end`; `data` holds their frames as they are in the file."""

    segment: int
    end: int
    row_count: int
    data: bytes

    def payloads(self) -> tuple[bytes | None, ...]:
        """The rows; None for one that is damaged."""
        return tuple(frame.payload for frame in decode_frames(self.data))

    def frames(self) -> tuple[bytes, ...]:
        """The rows with their frame headers, damaged or not."""
        ends = [0, *(frame.end for frame in decode_frames(self.data))]
        return tuple(self.data[begin:end] for begin, end in pairwise(ends))


def segment_name(number: int) -> str:
    """The name of a segment's file."""
    return f"{number:010d}{SEGMENT_SUFFIX}"


def quarantine_path(folder: Path, number: int, offset: int) -> Path:
    """Where a segment is set aside of which the bytes from an offset on are no rows."""
    return folder.parent / f"{folder.name}-{segment_name(number)}{OFFSET_MARK}{offset}{DAMAGED_SUFFIX}"


def damage_offset(name: str) -> int:
    """The offset from which a file that was set aside is damaged, as its name says."""
    _, mark, offset = name.removesuffix(DAMAGED_SUFFIX).rpartition(OFFSET_MARK)
    return int(offset) if mark and offset.isdecimal() else 0


def scan_segments(disk: Disk, folder: Path, sent_position: tuple[int, int]) -> dict[int, LogSegment]:
    """What the folder's files hold, of which everything before a position was sent. Raises OSError."""
    numbers = [int(name.removesuffix(SEGMENT_SUFFIX)) for name in disk.list_names(folder) if _is_segment(name)]
    return {
        number: _scan_segment(disk, folder / segment_name(number), _sent_offset(number, sent_position))
        for number in numbers
    }


def load_position(disk: Disk, folder: Path) -> tuple[int, int]:
    """The segment and offset up to which rows were sent, as saved; the beginning where nothing valid is.

    Raises OSError where it cannot be read: rows that were sent and erased since must not be sent again for that.
    """
    try:
        position = json.loads(disk.read_all(folder / POSITION_FILE))
        return int(position["segment"]), int(position["offset"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return (0, 0)


def next_position(segments: Mapping[int, LogSegment], newest: int) -> tuple[int, int]:
    """The segment and offset of the first row that was not sent."""
    unsent = [number for number, segment in segments.items() if not segment.is_sent]
    if unsent:
        return min(unsent), segments[min(unsent)].sent_offset
    return (newest, segments[newest].size_bytes) if newest in segments else (newest + 1, 0)


def save_position(disk: Disk, folder: Path, position: tuple[int, int]) -> None:
    """Save the position, whole or not at all. Raises OSError."""
    draft = folder / f"{POSITION_FILE}.draft"
    file = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        disk.write(file, json.dumps({"segment": position[0], "offset": position[1]}).encode(), 0)
    finally:
        disk.close(file)
    disk.rename(draft, folder / POSITION_FILE)


def read_frames(disk: Disk, path: Path, offset: int, size: int, max_count: int) -> tuple[int, bytes]:
    """The next whole frames of the file's first `size` bytes, at most so many: how many, and their bytes.

    Raises OSError where the file cannot be read, which says nothing about what is in it.
    """
    file = disk.open(path)
    try:
        data = disk.read(file, min(READ_BYTES, size - offset), offset)
        if (first_frame := frame_size(data)) > len(data) and first_frame <= size - offset:
            data += disk.read(file, first_frame - len(data), offset + len(data))
    finally:
        disk.close(file)
    rows, end = scan_frames(data, max_count=max_count)
    return rows, data[:end]


def is_missing(disk: Disk, folder: Path, error: OSError) -> bool:
    """Whether an error says that a file is no longer in its folder; where the folder is gone too, it says nothing."""
    if error.errno != errno.ENOENT:
        return False
    try:
        disk.stat(folder)
    except OSError:
        return False
    return True


def _is_segment(name: str) -> bool:
    return name.endswith(SEGMENT_SUFFIX) and name.removesuffix(SEGMENT_SUFFIX).isdecimal()


def _sent_offset(number: int, sent_position: tuple[int, int]) -> int | None:
    """The offset before which a segment was sent; None for all of it."""
    if number < sent_position[0]:
        return None
    return sent_position[1] if number == sent_position[0] else 0


def _scan_segment(disk: Disk, path: Path, sent_until: int | None) -> LogSegment:
    """The file as far as its rows are whole; what follows is room, a row torn in mid-write, or damage.

    A row that was torn in mid-write has no length yet. A length that does not fit is none that was written.
    """
    data = disk.read_all(path)  # a file is a few MiB
    rows, end = scan_frames(data)
    if torn := len(data[end:].rstrip(b"\0")):
        log.warning("%s ends in %d torn byte(s)", path, torn)
    offset = end if sent_until is None else min(sent_until, end)
    unsent, _ = scan_frames(data, offset)
    return LogSegment(end, rows, rows - unsent, offset, has_torn_tail=any(data[end : end + 4]))
