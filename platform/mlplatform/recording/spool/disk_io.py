"""The system calls that spools make, each in one place, so that a test can let any of them fail.

A failure here says nothing about the rows: a file that cannot be opened for want of descriptors is a whole file.
"""

import ctypes
import fcntl
import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_lseek = ctypes.PyDLL(None, use_errno=True).lseek
"""`lseek` called while Python's lock is held: a row is not to wait for other threads."""
_lseek.argtypes, _lseek.restype = (ctypes.c_int, ctypes.c_long, ctypes.c_int), ctypes.c_long
CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL
APPEND_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND


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
