"""A file that grows at its end and is written through a memory map.

To append is to copy: there is no system call, which would take longer than the copy and let other threads in between.
What was copied is the kernel's, and outlives the process as if it had been written. Room is made ahead with zeros that
are really written, so that a full disk shows here, as an OSError, and not by a signal amid a copy. Where no
file can be mapped (some network file systems), rows are written by a call after all.
"""

import contextlib
import errno
import mmap
import time
from pathlib import Path
from typing import Final

from mlplatform.recording.spool.disk_io import CREATE_FLAGS, DISK, Disk

LENGTH_FIELD_BYTES: Final = 4


class UnlinkedError(FileNotFoundError):
    """The file that is being written was removed."""


class MmapAppendFile:
    """A new file. It grows by `step` bytes at a time; `size` is how many are written.

    Raises OSError where the file cannot be made, or is there already: whatever is in it is kept.
    """

    def __init__(self, path: Path, step: int, disk: Disk = DISK) -> None:
        self._disk, self._step = disk, step
        self._file = disk.open(path, CREATE_FLAGS)
        self._capacity = self.size = 0
        self._memory: mmap.mmap | None = None
        self._checked_at = time.monotonic()

    def append(self, data: bytes) -> None:
        """Write at the end, all or nothing. Raises OSError where there is no room.

        The first bytes are copied last: whoever is killed in between leaves zeros where they belong.
        """
        end = self.size + len(data)
        if end > self._capacity:
            self._grow(end)
        begin = self.size + LENGTH_FIELD_BYTES
        if self._memory is None:
            self._disk.write(self._file, data[LENGTH_FIELD_BYTES:], begin)
            self._disk.write(self._file, data[:LENGTH_FIELD_BYTES], self.size)
        else:
            self._memory[begin:end] = data[LENGTH_FIELD_BYTES:]
            self._memory[self.size : begin] = data[:LENGTH_FIELD_BYTES]
        self.size = end

    def is_truncated(self) -> bool:
        """Whether the file is shorter than its room: to copy behind its end would end the process.

        Whether it still has a name is checked every `Disk.check_seconds` at most, for that call lets other threads in.
        Raises UnlinkedError where it has none any more, so that nobody would find what is written to it.
        """
        now = time.monotonic()
        try:
            if self._disk.file_length(self._file) < self._capacity:
                return True
            if now - self._checked_at < self._disk.check_seconds:
                return False
            self._checked_at = now
            links = self._disk.fstat(self._file).st_nlink
        except OSError:
            return False  # that says nothing about the file
        if links == 0:
            raise UnlinkedError(errno.ENOENT, "its file was removed")
        return False

    def read(self, begin: int, end: int) -> bytes:
        """What was written between two places, whatever became of the file's name. Raises OSError."""
        return self._disk.read(self._file, end - begin, begin)

    def duplicate(self) -> int:
        """Another descriptor of the file, for a call of the system that takes long."""
        return self._disk.duplicate(self._file)

    def finish(self) -> int:
        """End writing; what was room is no longer part of the file. Returns its descriptor, to be closed."""
        self._unmap()
        with contextlib.suppress(OSError):  # zeros at the end are no rows
            self._disk.truncate(self._file, self.size)
        return self._file

    def _grow(self, end: int) -> None:
        room = -(-end // self._step) * self._step
        try:
            self._disk.write(self._file, bytes(room - self._capacity), self._capacity)
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.truncate(self._file, self._capacity)
            raise
        self._unmap()
        self._capacity = room
        with contextlib.suppress(OSError):
            self._memory = self._disk.memory_map(self._file, room)

    def _unmap(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
