"""A file that grows at its end and is written through memory; it knows no frame and no row.

To append is to copy: no call of the system, which would take longer than the copy and let other threads in between.
What was copied is the kernel's, and outlives the process as if it had been written. Room is made ahead with zeros that
are really written, so that a disk that is full says so here, as an OSError, and not by a signal amid a copy. Where no
file can be mapped (some network file systems), rows are written by a call after all.
"""

import contextlib
import mmap
import os
from pathlib import Path
from typing import Final

HEAD_BYTES: Final = 4


class Growing:
    """A new file. Room is made `step` bytes at a time; `size` is how far it is written.

    Raises OSError where the file cannot be made, or is there already: whatever is in it is kept.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._step = step
        self._room = self.size = 0
        self._memory: mmap.mmap | None = None

    def append(self, data: bytes) -> None:
        """Write at the end, all or nothing. Raises OSError where there is no room.

        The first bytes are copied last: whoever is killed in between leaves zeros where they belong.
        """
        end = self.size + len(data)
        if end > self._room:
            self._grow(end)
        if self._memory is None:
            _write(self._file, data, self.size)
        else:
            begin = self.size + HEAD_BYTES
            self._memory[begin:end] = data[HEAD_BYTES:]
            self._memory[self.size : begin] = data[:HEAD_BYTES]
        self.size = end

    def duplicate(self) -> int:
        """Another descriptor of the file, for a call of the system that takes long."""
        return os.dup(self._file)

    def leave(self) -> int:
        """End writing; what was room is no longer part of the file. Returns its descriptor, to be closed."""
        self._unmap()
        with contextlib.suppress(OSError):  # zeros at the end are no rows
            os.ftruncate(self._file, self.size)
        return self._file

    def _grow(self, end: int) -> None:
        room = -(-end // self._step) * self._step
        try:
            _write(self._file, bytes(room - self._room), self._room)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._room)
            raise
        self._unmap()
        self._room = room
        with contextlib.suppress(OSError):
            self._memory = mmap.mmap(self._file, room)

    def _unmap(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def _write(file: int, data: bytes, place: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, place)
        rest, place = rest[written:], place + written
