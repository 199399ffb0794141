"""One server's spool: rows appended to segment files and read back in their order; it knows no row and no database.

A row is safe from the death of the process once `append` returns, and from the loss of power once `sync` returns.
Only the holder of the folder's lock writes here. Memory does not grow with the rows: a segment is two numbers.
"""

import contextlib
import errno
import json
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.spool.frames import framed, frames, measured, needed
from mlplatform.spool.growing import Growing

log = logging.getLogger(__name__)
SUFFIX: Final = ".rows"
DAMAGED: Final = ".damaged"
POSITION: Final = "position"
CHUNK_BYTES: Final = 2**20
TIDY_BYTES: Final = 2**18
"""A segment of which everything was sent is left behind at this size: what is recorded need not lie here as well.

Room is made in files by as much at a time."""


@dataclass
class Segment:
    """One file: how many bytes and whole rows it holds, and how many of the rows were sent."""

    size: int = 0
    rows: int = 0
    sent: int = 0


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


class Spool:
    """The rows of one folder. Any thread may append; one thread reads and settles."""

    def __init__(self, folder: Path, segment_bytes: int, *, fsync: bool = False) -> None:
        self.folder, self._segment_bytes, self._fsync = folder, segment_bytes, fsync
        self._tidy_bytes = min(TIDY_BYTES, segment_bytes)
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._file: Growing | None = None
        self._left: list[int] = []
        """Files that are full and not synced yet: `append` waits for no disk."""
        self._written = self._synced = 0
        self._unsafe = (0, 0)
        self._in_hand: Batch | None = None
        self._at = _position(folder)
        self._segments = {number: _measured(path, self._from(number)) for number, path in _files(folder)}
        self._newest = max([*self._segments, self._at[0]])
        self.appended = self.settled = 0
        self.queued = sum(each.rows - each.sent for number, each in self._segments.items() if number >= self._at[0])
        self.size = sum(segment.size for segment in self._segments.values())
        """Bytes of rows on disk."""

    @property
    def written(self) -> int:
        """The bytes appended so far: what `sync` takes."""
        with self._lock:
            return self._written

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write the rows at the end, all or none. Raises OSError, as on a full disk."""
        if not payloads:
            return
        data = framed(payloads)
        with self._lock:
            segment = self._segments.get(self._newest)
            if self._file is None or segment is None or segment.size >= self._segment_bytes:
                segment = self._begin()
            assert self._file is not None
            self._file.append(data)
            segment.size += len(data)
            segment.rows += len(payloads)
            self.size += len(data)
            self.queued += len(payloads)
            self.appended += len(payloads)
            self._written += len(data)

    def sync(self, upto: int) -> None:
        """Let the disk hold everything up to there; those who ask meanwhile share one call.

        Raises OSError, for all that a call was to hold that failed: the system tells that once only.
        """
        with self._syncing:
            if self._unsafe[0] < upto <= self._unsafe[1]:
                raise OSError(errno.EIO, "the disk did not take these rows")
            if self._synced >= upto:
                return
            with self._lock:
                goal, files, self._left = self._written, self._left, []
                if self._file is not None:
                    files.append(self._file.duplicate())
            try:
                for file in files:
                    os.fsync(file)
                if files:
                    sync_folder(self.folder)
            except OSError:
                self._unsafe = (self._synced, goal)
                with self._lock:
                    self._shut()  # what comes now goes into a file of which nothing is in doubt
                raise
            finally:
                for file in files:
                    os.close(file)
            self._synced = goal

    def read(self, most: int) -> Batch | None:
        """The next rows, at most so many, or None; they stay until `settle`."""
        while (found := self._next()) is not None:
            number, offset, size = found
            rows, data = _read(self.folder / _name(number), offset, size, most)
            if rows:
                batch = Batch(number, offset + len(data), rows, data)
                with self._lock:
                    if number not in self._segments:
                        continue  # given up meanwhile
                    self._in_hand = batch
                return batch
            self._pass_over(number)
        return None

    def settle(self, batch: Batch) -> None:
        """These rows are in the database: go on behind them, and remove the files that are done."""
        with self._lock:
            self._in_hand = None
            self._at = max(self._at, (batch.segment, batch.end))
            self._count_off(batch.rows)
            _keep_position(self.folder, self._at)
            segment = self._segments.get(batch.segment)
            if segment is None:
                return
            segment.sent += batch.rows
            if batch.end < segment.size:
                return
            if batch.segment == self._newest and self._file is not None and segment.size < self._tidy_bytes:
                return
            self._remove(batch.segment)

    def tidy(self) -> None:
        """Remove the files of which everything was sent, however small."""
        with self._lock:
            for number in [number for number, each in self._segments.items() if each.sent == each.rows]:
                self._remove(number)

    def drop_oldest(self) -> int:
        """Give up the oldest segment; returns how many of its rows nobody will record. Those in hand may still be."""
        with self._lock:
            if not self._segments:
                return 0
            oldest = min(self._segments)
            segment = self._segments[oldest]
            rows = segment.rows - segment.sent
            if self._in_hand is not None and self._in_hand.segment == oldest:
                rows -= self._in_hand.rows
            self._at = max(self._at, (oldest + 1, 0))
            self._count_off(rows)
            self._remove(oldest)
            _keep_position(self.folder, self._at)
            return rows

    def close(self) -> None:
        """Stop writing; what was not sent stays on disk."""
        if self._fsync:
            try:
                self.sync(self.written)
            except OSError as error:
                log.error("the last rows of %s may not outlive a loss of power: %s", self.folder, error)
        with self._lock:
            self._shut()

    def erase(self) -> None:
        """Remove the folder's files; only for a spool of which everything was sent."""
        self.close()
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def _begin(self) -> Segment:
        self._leave()
        self._newest = max(self._newest, self._at[0]) + 1
        self._file = Growing(self.folder / _name(self._newest), self._tidy_bytes)
        self._segments[self._newest] = Segment()
        return self._segments[self._newest]

    def _leave(self) -> None:
        """Write to this file no more; where rows are to outlive the power, the next `sync` holds it."""
        if self._file is not None and self._fsync:
            file, self._file = self._file, None
            self._left.append(file.leave())
        self._shut()

    def _shut(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file.leave())

    def _count_off(self, rows: int) -> None:
        self.queued -= rows
        self.settled += rows

    def _from(self, number: int) -> int:
        return self._at[1] if number == self._at[0] else 0

    def _next(self) -> tuple[int, int, int] | None:
        with self._lock:
            for number in sorted(self._segments):
                size = self._segments[number].size
                if number < self._at[0] or self._from(number) >= size:
                    if number != self._newest or self._file is None:
                        self._remove(number)
                    continue
                return number, self._from(number), size
            return None

    def _pass_over(self, number: int) -> None:
        """Leave a segment aside that the disk does not give back."""
        path = self.folder / _name(number)
        kept = self.folder.parent / f"{self.folder.name}-{path.name}{DAMAGED}"
        with self._lock:
            segment = self._segments.pop(number, None)
            if segment is None:
                return  # given up meanwhile
            self.size -= segment.size
            self._count_off(segment.rows - segment.sent)
            if number == self._newest:
                self._shut()
            with contextlib.suppress(OSError):
                path.replace(kept)
        log.error(
            "%d row(s) of %s cannot be read; what is left of the file is %s", segment.rows - segment.sent, path, kept
        )

    def _remove(self, number: int) -> None:
        if number == self._newest:
            self._shut()
        self.size -= self._segments.pop(number).size
        (self.folder / _name(number)).unlink(missing_ok=True)


def _name(number: int) -> str:
    return f"{number:010d}{SUFFIX}"


def _files(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in folder.glob(f"*{SUFFIX}"))


def _measured(path: Path, sent_until: int) -> Segment:
    """The file as far as its rows are whole; what follows is room, or was torn in mid-write and had no answer."""
    data = path.read_bytes()  # a file is a few MiB
    rows, end = measured(data)
    left, _ = measured(data, sent_until)
    if torn := len(data[end:].rstrip(b"\0")):
        log.warning("%s ends in %d torn byte(s)", path, torn)
    return Segment(end, rows, rows - left)


def _position(folder: Path) -> tuple[int, int]:
    """How far the rows were sent, as the folder says; from the beginning where it says nothing sensible."""
    try:
        told = json.loads((folder / POSITION).read_text())
        return int(told["segment"]), int(told["offset"])
    except (OSError, ValueError, KeyError, TypeError):
        return (0, 0)


def _keep_position(folder: Path, at: tuple[int, int]) -> None:
    """Write the position down; where that fails, rows are sent again after a restart, which doubles nothing."""
    try:
        draft = folder / f"{POSITION}.draft"
        draft.write_text(json.dumps({"segment": at[0], "offset": at[1]}))
        draft.replace(folder / POSITION)
    except OSError as error:
        log.warning("the spool's position could not be kept: %s", error)


def sync_folder(folder: Path) -> None:
    """Let the disk hold the names in a folder. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _read(path: Path, offset: int, size: int, most: int) -> tuple[int, bytes]:
    """The next whole frames of the file's first `size` bytes, at most so many: how many, and their bytes.

    None where the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(min(CHUNK_BYTES, size - offset))
            if (longer := needed(data)) > len(data) and longer <= size - offset:
                data += file.read(longer - len(data))
    except OSError as error:
        log.error("%s: %s", path, error)
        return 0, b""
    rows, end = measured(data, most=most)
    return rows, data[:end]
