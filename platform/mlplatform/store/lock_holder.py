"""Finds the process that holds the write lock of a SQLite file, for messages to whoever waits for it in vain.

Nobody can take the lock from a process that was stopped inside a transaction: a person has to let it go on or end it.
Linux lists the locks of all processes. The file is not opened to ask: closing it would free this process's own locks.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC_LOCKS: Final = Path("/proc/locks")
WRITE_LOCK_BYTE: Final = 120
"""The byte of the `-shm` file whose lock lets a process write (WAL_WRITE_LOCK in SQLite's wal.c and os_unix.c)."""
STOPPED_STATES: Final = "Tt"


@dataclass(frozen=True)
class LockHolder:
    """A process that holds the write lock, and its state as Linux names it: R, S, D, T."""

    pid: int
    state: str

    @property
    def sentence(self) -> str:
        """Who holds the lock, and what to do where nothing but a person can help."""
        if self.state and self.state in STOPPED_STATES:
            return (
                f"process {self.pid} holds its write lock and is stopped: `kill -CONT {self.pid}` lets it go on, "
                f"`kill -9 {self.pid}` ends it"
            )
        return f"process {self.pid} holds its write lock"


def write_lock_holder(database: Path, locks: Path = PROC_LOCKS) -> LockHolder | None:
    """The process that may write to the database now; None where none does, or the system does not tell."""
    try:
        shared = Path(f"{database}-shm").stat()
        listed = locks.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    device, number = shared.st_dev, shared.st_ino
    file = f"{os.major(device):02x}:{os.minor(device):02x}:{number}"
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 8 and words[1] == "POSIX" and words[3] == "WRITE" and words[5] == file:
            pid, first, last = int(words[4]), int(words[6]), words[7]
            if pid > 0 and first <= WRITE_LOCK_BYTE and (last == "EOF" or int(last) >= WRITE_LOCK_BYTE):
                return LockHolder(pid, _process_state(pid))
    return None


def _process_state(pid: int) -> str:
    """The state of a process in one letter; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""
