"""The system calls that spools make, each in one place, so that a test can let any of them fail; files that grow.

A failure here says nothing about the rows: a file that cannot be opened for want of descriptors is a whole file.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_lseek = ctypes.PyDLL(None, use_errno=True).lseek
"""`lseek` called while Python's lock is held: a row is not to wait for other threads."""
_lseek.argtypes, _lseek.restype = (ctypes.c_int, ctypes.c_long, ctypes.c_int), ctypes.c_long
CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL
APPEND_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND
LENGTH_FIELD_BYTES: Final = 4
"""The first bytes of what is appended, which say that the rest is there."""


class Disk:
    """System calls on files and folders; every method raises OSError as the system does."""

    check_seconds = 0.05
    """The shortest time between two checks whether a file that is being written is still there."""

    def open(self, path: Path, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the file; a new file is readable by its owner alone."""
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def close(self, file: int) -> None:
        """Close a descriptor; it is free even where the system reports an error."""
        with suppress(OSError):
            os.close(file)

    def duplicate(self, file: int) -> int:
        """Another descriptor of the same file."""
        return os.dup(file)

    def read(self, file: int, size: int, offset: int) -> bytes:
        """The bytes from a place on, fewer only where the file ends before."""
        parts: list[bytes] = []
        while size and (part := os.pread(file, size, offset)):
            parts.append(part)
            size, offset = size - len(part), offset + len(part)
        return b"".join(parts)

    def write(self, file: int, data: bytes, offset: int) -> None:
        """Write all of it at a place."""
        remaining = memoryview(data)
        while remaining:
            written = os.pwrite(file, remaining, offset)
            remaining, offset = remaining[written:], offset + written

    def append(self, file: int, data: bytes) -> None:
        """Write all of it at the end of a file opened with APPEND."""
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[os.write(file, remaining) :]

    def truncate(self, file: int, size: int) -> None:
        """Cut or extend the file to a size in bytes."""
        os.ftruncate(file, size)

    def memory_map(self, file: int, size: int) -> mmap.mmap:
        """The file's first bytes as memory."""
        return mmap.mmap(file, size)

    def sync(self, file: int) -> None:
        """Force the file's bytes to the disk."""
        os.fsync(file)

    def lock(self, file: int, *, wait: bool = False) -> bool:
        """Lock the file; whether that succeeded. Another holder is waited for only with `wait`."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def fstat(self, file: int) -> os.stat_result:
        """The status of an open file."""
        return os.fstat(file)

    def file_length(self, file: int) -> int:
        """How long an open file is, asked before each row."""
        length = int(_lseek(file, 0, os.SEEK_END))
        if length < 0:
            raise OSError(ctypes.get_errno(), "its length cannot be had")
        return length

    def stat(self, path: Path) -> os.stat_result:
        """The status of the file of a name."""
        return path.stat()

    def list_names(self, folder: Path) -> Sequence[str]:
        """The names in a folder, in order."""
        return sorted(path.name for path in folder.iterdir())

    def rename(self, path: Path, other: Path) -> None:
        """Give a file another name, in place of the file that had it."""
        path.replace(other)

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is gone already is no error."""
        path.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """Make a folder for its owner alone, with those above it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove an empty folder; one that is gone already is no error."""
        with suppress(FileNotFoundError):
            folder.rmdir()

    def read_all(self, path: Path) -> bytes:
        """All bytes of a file."""
        file = self.open(path)
        try:
            return self.read(file, self.fstat(file).st_size, 0)
        finally:
            self.close(file)


DISK: Final = Disk()


class UnlinkedError(FileNotFoundError):
    """The file that is being written was removed."""


class MmapAppendFile:
    """A new file that is written through a memory map. It grows by `step` bytes at a time; `size` are written.

    To append is to copy: there is no system call, which would take longer than the copy and let other threads in
    between. What was copied is the kernel's, and outlives the process as if it had been written. Room is made ahead
    with zeros that are really written, so that a full disk shows here, as an OSError, and not by a signal amid a copy.
    Where no file can be mapped (some network file systems), rows are written by a call after all.

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
        with suppress(OSError):  # zeros at the end are no rows
            self._disk.truncate(self._file, self.size)
        return self._file

    def _grow(self, end: int) -> None:
        room = -(-end // self._step) * self._step
        try:
            self._disk.write(self._file, bytes(room - self._capacity), self._capacity)
        except OSError:
            with suppress(OSError):
                self._disk.truncate(self._file, self._capacity)
            raise
        self._unmap()
        self._capacity = room
        with suppress(OSError):
            self._memory = self._disk.memory_map(self._file, room)

    def _unmap(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
