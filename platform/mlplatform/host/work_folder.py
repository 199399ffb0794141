"""A folder for the work of one process, which is gone afterwards: at once, or where it was killed, at the next work."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """A new folder in `place` for this user alone; what processes that were killed left in there is removed.

    The kernel's lock on a folder says whose process still lives: it ends with the process, however that ends.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    outer = _open(place)
    try:
        fcntl.flock(outer, fcntl.LOCK_EX)  # nobody removes a folder between its making and its lock
        for left in place.iterdir():
            _remove_left(left)
        folder = Path(tempfile.mkdtemp(dir=place)).resolve()
        held = _open(folder)
        fcntl.flock(held, fcntl.LOCK_EX)
    finally:
        os.close(outer)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_left(folder: Path) -> None:
    with suppress(OSError):  # no folder, another user's, or one that a living process holds
        held = _open(folder)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
