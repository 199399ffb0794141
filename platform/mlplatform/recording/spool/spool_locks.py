"""A spool's folder and the lock that says whether its server lives; it knows no row.

A folder is locked before it bears a name, so that nobody takes it for a dead server's. A lock that can be had belongs
to a dead one. Whatever fails on the way leaves no lock held and nothing half made.
"""

import os
from pathlib import Path
from typing import Final
from uuid import uuid4

from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.segment_files import SUFFIX
from mlplatform.recording.spool.segment_log import LOCK

BEGUN: Final = ".begun-"


def make_folder(disk: Disk, root: Path, instance: str) -> tuple[Path, int]:
    """A new folder for a server and the descriptor that holds its lock. Raises OSError."""
    name = f"{instance.replace(':', '-').replace('/', '-')}-{uuid4().hex[:6]}"
    draft, folder = root / f"{BEGUN}{name}", root / name
    disk.make_folder(draft)
    lock: int | None = None
    try:
        lock = disk.open(draft / LOCK, os.O_RDWR | os.O_CREAT)
        disk.lock(lock, wait=True)
        disk.write(lock, instance.encode(), 0)
        disk.rename(draft, folder)
    except BaseException:
        if lock is not None:
            disk.close(lock)
        _removed(disk, draft)
        raise
    return folder, lock


def folders(disk: Disk, root: Path) -> list[Path]:
    """The spools' folders, oldest first; one that bears rows and has lost its lock is among them. Raises OSError."""
    try:
        names = disk.names(root)
    except FileNotFoundError:
        return []
    known: list[tuple[int, Path]] = []
    for folder in [root / name for name in names if not name.startswith(".")]:
        try:
            known.append((disk.find(folder / LOCK).st_ctime_ns, folder))
        except NotADirectoryError:
            continue
        except FileNotFoundError:
            if _bears_rows(disk, folder):
                known.append((0, folder))
    return [folder for _, folder in sorted(known)]


def take(disk: Disk, folder: Path) -> int | None:
    """The descriptor that holds the folder's lock; None while somebody else holds it or when the folder is gone."""
    try:
        lock = disk.open(folder / LOCK, os.O_RDWR | (os.O_CREAT if _bears_rows(disk, folder) else 0))
    except FileNotFoundError:
        return None
    try:
        if disk.lock(lock) and disk.status(lock).st_nlink > 0:
            return lock
    except BaseException:
        disk.close(lock)
        raise
    disk.close(lock)
    return None


def instance_of(disk: Disk, folder: Path) -> str:
    """The server whose rows a folder holds: their audit chain is its own. Raises OSError where it cannot be asked."""
    return disk.contents(folder / LOCK).decode(errors="replace") or folder.name


def remove_folder(disk: Disk, folder: Path, lock: int) -> None:
    """Remove an empty folder and its lock. Raises OSError; the lock is given up either way."""
    try:
        disk.unlink(folder / LOCK)
        disk.remove_folder(folder)
    finally:
        disk.close(lock)


def _bears_rows(disk: Disk, folder: Path) -> bool:
    try:
        return any(name.endswith(SUFFIX) for name in disk.names(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _removed(disk: Disk, draft: Path) -> None:
    try:
        disk.unlink(draft / LOCK)
        disk.remove_folder(draft)
    except OSError:
        return  # an empty folder that nobody looks into
