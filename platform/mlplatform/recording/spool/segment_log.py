"""A segment log: rows appended to files in one folder and read back in their order until they are settled.

It is the spool of one server. A row is safe from the death of the process once `append` returns, and from the loss of
power once `sync` returns. Only the holder of the folder's lock writes here. Memory does not grow with the rows: a
segment is a few numbers. A file that cannot be opened, read or removed keeps its rows and is tried again; only bytes
that were read and are no rows are damage, and the file with them is set aside.
"""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mlplatform.recording.spool.disk_io import DISK, Disk, MmapAppendFile
from mlplatform.recording.spool.record_format import encode_frames
from mlplatform.recording.spool.segment_files import (
    LogSegment,
    RowBatch,
    is_missing,
    load_position,
    next_position,
    quarantine_path,
    read_frames,
    save_position,
    scan_segments,
    segment_name,
)

log = logging.getLogger(__name__)
LOCK_FILE: Final = "lock"
RETIRE_BYTES: Final = 2**18
"""A segment of which everything was sent is removed at this size; files grow by as much at a time."""
MAX_OVERLONG_SEGMENTS: Final = 8
"""Segments that one file may hold where the next one cannot be made."""


class SegmentLog:
    """The rows of one folder. Any thread may append; one thread reads and settles.

    `on_missing` is called with the number of rows whose file is gone, `on_damaged` with that of rows whose file is
    damaged. Raises OSError where the folder cannot be scanned.
    """

    def __init__(self, folder: Path, segment_bytes: int, *, fsync: bool = False, disk: Disk = DISK) -> None:
        self.folder, self._segment_bytes, self._fsync, self._disk = folder, segment_bytes, fsync, disk
        self._tidy_bytes = min(RETIRE_BYTES, segment_bytes)
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()
        self._file: MmapAppendFile | None = None
        self._unsynced_files: list[int] = []  # descriptors of full files: `append` waits for no disk
        self._appended_bytes = self._synced_bytes = 0
        self._failed_sync_range = (0, 0)
        self._batch_in_flight: RowBatch | None = None
        self._logged_errors: set[str] = set()  # what cannot be done at present and was logged
        self._position = load_position(disk, folder)
        self._segments = scan_segments(disk, folder, self._position)
        self._newest_segment = max([*self._segments, self._position[0]])
        self.appended_rows = self.settled_rows = 0
        self.queued_rows = sum(segment.unsent_rows for segment in self._segments.values())
        self.size_bytes = sum(segment.size_bytes for segment in self._segments.values())  # of rows on disk
        self.on_missing: Callable[[int], None] = lambda _: None
        self.on_damaged: Callable[[int], None] = lambda _: None

    @property
    def appended_bytes(self) -> int:
        """The bytes appended so far: what `sync` takes."""
        with self._lock:
            return self._appended_bytes

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write the rows at the end, all or none. Raises OSError, as on a full disk, UnlinkedError for a lost file."""
        if not payloads:
            return
        data = encode_frames(payloads)
        with self._lock:
            segment = self._segments.get(self._newest_segment)
            if self._file is not None and self._file.is_truncated():
                self._close_file()
            if self._file is None or segment is None or segment.size_bytes >= self._segment_bytes:
                segment = self._next_file(segment)
            assert self._file is not None
            self._file.append(data)
            segment.size_bytes += len(data)
            segment.row_count += len(payloads)
            self.size_bytes += len(data)
            self.queued_rows += len(payloads)
            self.appended_rows += len(payloads)
            self._appended_bytes += len(data)

    def sync(self, upto: int) -> None:
        """Let the disk hold everything up to there; those who ask meanwhile share one call.

        Raises OSError, for all that a call was to hold that failed: the system tells that once only.
        """
        with self._sync_lock:
            if self._failed_sync_range[0] < upto <= self._failed_sync_range[1]:
                raise OSError(errno.EIO, "the disk did not take these rows")
            if self._synced_bytes >= upto:
                return
            folder = self._disk.open(self.folder)
            try:
                with self._lock:
                    files = [] if self._file is None else [self._file.duplicate()]
                    goal, files, self._unsynced_files = self._appended_bytes, [*self._unsynced_files, *files], []
                self._synced_bytes = self._sync_files(files, folder, goal)
            finally:
                self._disk.close(folder)

    def _sync_files(self, files: Sequence[int], folder: int, goal: int) -> int:
        try:
            for file in (*files, folder):
                self._disk.sync(file)
        except OSError:
            self._failed_sync_range = (self._synced_bytes, goal)
            with self._lock:
                self._close_file()  # what comes now goes into a file of which nothing is in doubt
            raise
        finally:
            for file in files:
                self._disk.close(file)
        return goal

    def read(self, max_count: int) -> RowBatch | None:
        """The next unsent rows, at most so many, or None; they stay until `settle`.

        A file that cannot be read now holds up no other. Raises OSError where there are only such; nothing is lost.
        """
        first_error: OSError | None = None
        for number in self._unsent_segments():
            try:
                batch = self._read_batch(number, max_count)
            except OSError as error:
                first_error = first_error or error
                continue
            if batch is not None:
                return batch
        if first_error is not None:
            raise first_error
        return None

    def settle(self, batch: RowBatch) -> None:
        """These rows are in the database: go on behind them, and remove the files that are done."""
        with self._lock:
            self._batch_in_flight = None
            self._settle_rows(batch.row_count)
            segment = self._segments.get(batch.segment)
            if segment is not None:
                segment.sent_rows += batch.row_count
                segment.sent_offset = batch.end
            self._save_position()
            if segment is not None and segment.is_sent:
                self._retire_segment(batch.segment, self._tidy_bytes)

    def remove_sent_segments(self) -> None:
        """Remove the files of which everything was sent, however small."""
        with self._lock:
            for number in [number for number, segment in self._segments.items() if segment.is_sent]:
                self._retire_segment(number, 1)

    def drop_oldest(self) -> int:
        """Give up the oldest segment; returns how many of its rows are lost. Those of a batch in flight may not be."""
        with self._lock:
            if not self._segments:
                return 0
            oldest = min(self._segments)
            segment = self._segments[oldest]
            if not self._remove_segment(oldest, forget=True):
                return 0
            rows = segment.unsent_rows
            if self._batch_in_flight is not None and self._batch_in_flight.segment == oldest:
                rows -= self._batch_in_flight.row_count
            self._settle_rows(rows)
            self._save_position()
            return rows

    def transfer_unsent(self, append_frames: Callable[[bytes], None]) -> None:
        """Pass on the unsent frames of the file that is being written, whatever became of its name."""
        with self._lock:
            segment = self._segments.get(self._newest_segment)
            if self._file is not None and segment is not None:
                append_frames(self._file.read(segment.sent_offset, segment.size_bytes))
                batch = self._batch_in_flight
                in_flight = batch.row_count if batch and batch.segment == self._newest_segment else 0
                self._settle_rows(segment.unsent_rows - in_flight)
                self.size_bytes -= self._segments.pop(self._newest_segment).size_bytes
                self._close_file()

    def close(self) -> None:
        """Stop writing; what was not sent stays on disk."""
        if self._fsync:
            try:
                self.sync(self.appended_bytes)
            except OSError as error:
                log.error("the last rows of %s may not outlive a loss of power: %s", self.folder, error)
        with self._lock:
            self._close_file()

    def erase(self) -> None:
        """Remove the folder's files but its lock, rows first; only for a spool of which everything was sent.

        Raises OSError where one stays; the folder can be taken over and erased again.
        """
        self.close()
        with self._lock:
            remaining = [number for number in sorted(self._segments) if not self._remove_segment(number)]
        if remaining:
            raise OSError(errno.EBUSY, f"{len(remaining)} file(s) stay in {self.folder}")
        for name in self._disk.list_names(self.folder):
            if name != LOCK_FILE:
                self._disk.unlink(self.folder / name)

    def _next_file(self, previous: LogSegment | None) -> LogSegment:
        """A new file; where none can be made, as without descriptors, the one before while it is not too long."""
        try:
            return self._start_segment()
        except OSError:
            max_bytes = MAX_OVERLONG_SEGMENTS * self._segment_bytes
            if self._file is None or previous is None or previous.size_bytes >= max_bytes:
                raise
            return previous

    def _start_segment(self, *, synced: bool = False) -> LogSegment:
        number = max(self._newest_segment, self._position[0]) + 1
        try:
            file = MmapAppendFile(self.folder / segment_name(number), self._tidy_bytes, self._disk)
        except FileExistsError:
            self._close_file()
            self._newest_segment = number
            raise
        self._finish_file(synced=synced)
        self._file, self._newest_segment, self._segments[number] = file, number, LogSegment()
        return self._segments[number]

    def _finish_file(self, *, synced: bool) -> None:
        """End the file that is being written; where rows are to outlive a loss of power, the next `sync` syncs it."""
        if self._file is not None and self._fsync and not synced:
            file, self._file = self._file, None
            self._unsynced_files.append(file.finish())
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            self._disk.close(file.finish())

    def _settle_rows(self, rows: int) -> None:
        self.queued_rows -= rows
        self.settled_rows += rows

    def _save_position(self) -> None:
        """Save where the first unsent row lies; where that fails, the next call does it."""
        self._position = next_position(self._segments, self._newest_segment)
        try:
            save_position(self._disk, self.folder, self._position)
        except OSError as error:
            self._log_once("position", f"the position of {self.folder} cannot be kept: {error}")
        else:
            self._logged_errors.discard("position")

    def _log_once(self, key: str, message: str) -> None:
        if key not in self._logged_errors:
            self._logged_errors.add(key)
            log.warning("%s; it is tried again", message)

    def _unsent_segments(self) -> list[int]:
        with self._lock:
            for number in [number for number, segment in self._segments.items() if segment.is_sent]:
                if number != self._newest_segment or self._file is None:
                    self._remove_segment(number)
            return sorted(number for number, segment in self._segments.items() if not segment.is_sent)

    def _read_batch(self, number: int, max_count: int) -> RowBatch | None:
        with self._lock:
            segment = self._segments.get(number)
            if segment is None:
                return None  # dropped meanwhile
            offset, size = segment.sent_offset, segment.size_bytes
        try:
            rows, data = read_frames(self._disk, self.folder / segment_name(number), offset, size, max_count)
        except FileNotFoundError as error:
            if not is_missing(self._disk, self.folder, error):
                raise
            self._abandon_segment(number)
            return None
        if not rows:
            self._abandon_segment(number, offset)
            return None
        batch = RowBatch(number, offset + len(data), rows, data)
        with self._lock:
            if number not in self._segments:
                return None
            self._batch_in_flight = batch
        return batch

    def _abandon_segment(self, number: int, damaged_from: int | None = None) -> None:
        """Set a segment aside that is damaged from an offset on, or give up one that is gone; OSError leaves it."""
        path = self.folder / segment_name(number)
        with self._lock:
            segment = self._segments.get(number)
            if segment is None:
                return
            rows = segment.unsent_rows
            if damaged_from is not None:
                quarantined = quarantine_path(self.folder, number, damaged_from)
                self._disk.rename(path, quarantined)
                log.error("%d row(s) of %s are damaged; the file is set aside as %s", rows, path, quarantined)
            else:
                log.error("%s is gone, and %d row(s) with it", path, rows)
            self._segments.pop(number)
            self.size_bytes -= segment.size_bytes
            self._settle_rows(rows)
            if number == self._newest_segment:
                self._close_file()
            self._save_position()
        (self.on_missing if damaged_from is None else self.on_damaged)(rows)

    def _retire_segment(self, number: int, min_bytes: int) -> None:
        """Remove a file that was sent; the one being written only where it has so many bytes and a successor."""
        if number == self._newest_segment and self._file is not None:
            if self._segments[number].size_bytes < min_bytes:
                return
            try:
                self._start_segment(synced=True)
            except OSError:
                return  # it stays in use, and the next call does it
        self._remove_segment(number)

    def _remove_segment(self, number: int, *, forget: bool = False) -> bool:
        """Whether the file was removed; what follows its rows and is none is set aside, unless it is to be forgotten.

        Where it cannot be removed it stays listed, and the next call does it.
        """
        segment, path = self._segments[number], self.folder / segment_name(number)
        try:
            if segment.has_torn_tail and not forget:
                self._disk.rename(path, quarantine_path(self.folder, number, segment.size_bytes))
                self.on_damaged(1)
            else:
                self._disk.unlink(path)
        except OSError as error:
            self._log_once(path.name, f"{path} cannot be removed: {error}")
            return False
        self._logged_errors.discard(path.name)
        if number == self._newest_segment:
            self._close_file()
        self.size_bytes -= self._segments.pop(number).size_bytes
        return True
