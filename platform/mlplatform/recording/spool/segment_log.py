"""One server's spool: rows appended to segment files and read back in their order; it knows no row and no database.

A row is safe from the death of the process once `append` returns, and from the loss of power once `sync` returns.
Only the holder of the folder's lock writes here. Memory does not grow with the rows: a segment is a few numbers.
A file that cannot be opened, read or removed keeps its rows and is tried again; only bytes that were read and are no
rows are damage, and the file with them is set aside.
"""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mlplatform.recording.spool.disk_io import DISK, Disk
from mlplatform.recording.spool.framing import framed
from mlplatform.recording.spool.mmap_file import Growing
from mlplatform.recording.spool.segment_files import (
    Batch,
    Segment,
    aside_name,
    found,
    gone,
    keep_position,
    name_of,
    next_frames,
    position,
)

log = logging.getLogger(__name__)
LOCK: Final = "lock"
TIDY_BYTES: Final = 2**18
"""A segment of which everything was sent is left behind at this size; room is made in files by as much at a time."""
LONGEST: Final = 8  # segments, where the next file cannot be made


class Spool:
    """The rows of one folder. Any thread may append; one thread reads and settles.

    `vanished` is told of rows whose file is gone, `set_aside` of those whose file is damaged. Raises OSError where the
    folder cannot be measured.
    """

    def __init__(self, folder: Path, segment_bytes: int, *, fsync: bool = False, disk: Disk = DISK) -> None:
        self.folder, self._segment_bytes, self._fsync, self._disk = folder, segment_bytes, fsync, disk
        self._tidy_bytes = min(TIDY_BYTES, segment_bytes)
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._file: Growing | None = None
        self._left: list[int] = []
        """Files that are full and not synced yet: `append` waits for no disk."""
        self._written = self._synced = 0
        self._unsafe = (0, 0)
        self._in_hand: Batch | None = None
        self._told: set[str] = set()  # what cannot be done just now and was said in the log
        self._at = position(disk, folder)
        self._segments = found(disk, folder, self._at)
        self._newest = max([*self._segments, self._at[0]])
        self.appended = self.settled = 0
        self.queued = sum(each.rows - each.sent for each in self._segments.values())
        self.size = sum(segment.size for segment in self._segments.values())
        """Bytes of rows on disk."""
        self.vanished: Callable[[int], None] = lambda _: None
        self.set_aside: Callable[[int], None] = lambda _: None

    @property
    def written(self) -> int:
        """The bytes appended so far: what `sync` takes."""
        with self._lock:
            return self._written

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write the rows at the end, all or none. Raises OSError, as on a full disk, UnlinkedError for a lost file."""
        if not payloads:
            return
        data = framed(payloads)
        with self._lock:
            segment = self._segments.get(self._newest)
            if self._file is not None and self._file.is_cut():
                self._shut()
            if self._file is None or segment is None or segment.size >= self._segment_bytes:
                segment = self._next_file(segment)
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
            folder = self._disk.open(self.folder)
            try:
                with self._lock:
                    files = [] if self._file is None else [self._file.duplicate()]
                    goal, files, self._left = self._written, [*self._left, *files], []
                self._synced = self._held(files, folder, goal)
            finally:
                self._disk.close(folder)

    def _held(self, files: Sequence[int], folder: int, goal: int) -> int:
        try:
            for file in (*files, folder):
                self._disk.sync(file)
        except OSError:
            self._unsafe = (self._synced, goal)
            with self._lock:
                self._shut()  # what comes now goes into a file of which nothing is in doubt
            raise
        finally:
            for file in files:
                self._disk.close(file)
        return goal

    def read(self, most: int) -> Batch | None:
        """The next rows, at most so many, or None; they stay until `settle`.

        A file that cannot be read now holds up no other. Raises OSError where there are only such; nothing is lost.
        """
        failed: OSError | None = None
        for number in self._unsent():
            try:
                batch = self._batch(number, most)
            except OSError as error:
                failed = failed or error
                continue
            if batch is not None:
                return batch
        if failed is not None:
            raise failed
        return None

    def settle(self, batch: Batch) -> None:
        """These rows are in the database: go on behind them, and remove the files that are done."""
        with self._lock:
            self._in_hand = None
            self._count_off(batch.rows)
            segment = self._segments.get(batch.segment)
            if segment is not None:
                segment.sent += batch.rows
                segment.offset = batch.end
            self._keep_position()
            if segment is not None and segment.offset >= segment.size:
                self._retire(batch.segment, self._tidy_bytes)

    def tidy(self) -> None:
        """Remove the files of which everything was sent, however small."""
        with self._lock:
            for number in [number for number, each in self._segments.items() if each.offset >= each.size]:
                self._retire(number, 1)

    def drop_oldest(self) -> int:
        """Give up the oldest segment; returns how many of its rows nobody will record. Those in hand may still be."""
        with self._lock:
            if not self._segments:
                return 0
            oldest = min(self._segments)
            segment = self._segments[oldest]
            if not self._removed(oldest, forget=True):
                return 0
            rows = segment.rows - segment.sent
            if self._in_hand is not None and self._in_hand.segment == oldest:
                rows -= self._in_hand.rows
            self._count_off(rows)
            self._keep_position()
            return rows

    def hand_over(self, keep: Callable[[bytes], None]) -> None:
        """Let the unsent frames of the file that is written be kept elsewhere, whatever became of its name."""
        with self._lock:
            segment = self._segments.get(self._newest)
            if self._file is not None and segment is not None:
                keep(self._file.read(segment.offset, segment.size))
                in_hand = self._in_hand.rows if self._in_hand and self._in_hand.segment == self._newest else 0
                self._count_off(segment.rows - segment.sent - in_hand)
                self.size -= self._segments.pop(self._newest).size
                self._shut()

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
        """Remove the folder's files but its lock, rows first; only for a spool of which everything was sent.

        Raises OSError where one stays; the folder can be taken over and erased again.
        """
        self.close()
        with self._lock:
            left = [number for number in sorted(self._segments) if not self._removed(number)]
        if left:
            raise OSError(errno.EBUSY, f"{len(left)} file(s) stay in {self.folder}")
        for name in self._disk.names(self.folder):
            if name != LOCK:
                self._disk.unlink(self.folder / name)

    def _next_file(self, before: Segment | None) -> Segment:
        """A new file; where none can be made, as without descriptors, the one before while it is not too long."""
        try:
            return self._begin()
        except OSError:
            if self._file is None or before is None or before.size >= LONGEST * self._segment_bytes:
                raise
            return before

    def _begin(self, *, synced: bool = False) -> Segment:
        number = max(self._newest, self._at[0]) + 1
        try:
            file = Growing(self.folder / name_of(number), self._tidy_bytes, self._disk)
        except FileExistsError:
            self._shut()
            self._newest = number
            raise
        self._leave(synced=synced)
        self._file, self._newest, self._segments[number] = file, number, Segment()
        return self._segments[number]

    def _leave(self, *, synced: bool) -> None:
        """Write to this file no more; where rows are to outlive the power, the next `sync` holds it."""
        if self._file is not None and self._fsync and not synced:
            file, self._file = self._file, None
            self._left.append(file.leave())
        self._shut()

    def _shut(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            self._disk.close(file.leave())

    def _count_off(self, rows: int) -> None:
        self.queued -= rows
        self.settled += rows

    def _keep_position(self) -> None:
        """Write down where the first row lies that was not sent; where that fails, the next time does it."""
        unsent = sorted((number, each.offset) for number, each in self._segments.items() if each.offset < each.size)
        newest = self._segments.get(self._newest)
        self._at = unsent[0] if unsent else (self._newest, newest.size) if newest else (self._newest + 1, 0)
        try:
            keep_position(self._disk, self.folder, self._at)
        except OSError as error:
            self._tell("position", f"the position of {self.folder} cannot be kept: {error}")
        else:
            self._told.discard("position")

    def _tell(self, what: str, trouble: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("%s; it is tried again", trouble)

    def _unsent(self) -> list[int]:
        with self._lock:
            for number in [number for number, each in self._segments.items() if each.offset >= each.size]:
                if number != self._newest or self._file is None:
                    self._removed(number)
            return sorted(number for number, each in self._segments.items() if each.offset < each.size)

    def _batch(self, number: int, most: int) -> Batch | None:
        with self._lock:
            segment = self._segments.get(number)
            if segment is None:
                return None  # given up meanwhile
            offset, size = segment.offset, segment.size
        try:
            rows, data = next_frames(self._disk, self.folder / name_of(number), offset, size, most)
        except FileNotFoundError as error:
            if not gone(self._disk, self.folder, error):
                raise
            self._give_up(number)
            return None
        if not rows:
            self._give_up(number, offset)
            return None
        batch = Batch(number, offset + len(data), rows, data)
        with self._lock:
            if number not in self._segments:
                return None
            self._in_hand = batch
        return batch

    def _give_up(self, number: int, damaged_from: int | None = None) -> None:
        """Set a segment aside that is damaged from an offset on, or count one that is gone; OSError leaves it."""
        path = self.folder / name_of(number)
        with self._lock:
            segment = self._segments.get(number)
            if segment is None:
                return
            rows = segment.rows - segment.sent
            if damaged_from is not None:
                kept = aside_name(self.folder, number, damaged_from)
                self._disk.rename(path, kept)
                log.error("%d row(s) of %s are damaged; the file is set aside as %s", rows, path, kept)
            else:
                log.error("%s is gone, and %d row(s) with it", path, rows)
            self._segments.pop(number)
            self.size -= segment.size
            self._count_off(rows)
            if number == self._newest:
                self._shut()
            self._keep_position()
        (self.vanished if damaged_from is None else self.set_aside)(rows)

    def _retire(self, number: int, least: int) -> None:
        """Remove a file that was sent; the one that is written only where it has so many bytes and a successor."""
        if number == self._newest and self._file is not None:
            if self._segments[number].size < least:
                return
            try:
                self._begin(synced=True)
            except OSError:
                return  # it goes on, and the next time does it
        self._removed(number)

    def _removed(self, number: int, *, forget: bool = False) -> bool:
        """Whether the file was removed; what follows its rows and is none is set aside, unless it is to be forgotten.

        Where it cannot be removed it stays in sight, and the next time does it.
        """
        segment, path = self._segments[number], self.folder / name_of(number)
        try:
            if segment.torn and not forget:
                self._disk.rename(path, aside_name(self.folder, number, segment.size))
                self.set_aside(1)
            else:
                self._disk.unlink(path)
        except OSError as error:
            self._tell(path.name, f"{path} cannot be removed: {error}")
            return False
        self._told.discard(path.name)
        if number == self._newest:
            self._shut()
        self.size -= self._segments.pop(number).size
        return True
