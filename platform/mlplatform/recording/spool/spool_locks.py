"""Creates, locks, lists and removes the folders of spools; the lock says whether the folder's server is alive.

A folder is locked before it gets its name, so that nobody takes it for a dead server's: where the lock is free, the
server is dead. A failure leaves no lock and nothing half made.
"""

import os
from pathlib import Path
from typing import Final
from uuid import uuid4

from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.segment_files import SEGMENT_SUFFIX
from mlplatform.recording.spool.segment_log import LOCK_FILE

DRAFT_PREFIX: Final = ".begun-"


def create_spool_folder(disk: Disk, root: Path, instance: str) -> tuple[Path, int]:
    """A new folder for a server and the descriptor that holds its lock. Raises OSError."""
    name = f"{instance.replace(':', '-').replace('/', '-')}-{uuid4().hex[:6]}"
    draft, folder = root / f"{DRAFT_PREFIX}{name}", root / name
    disk.make_folder(draft)
    lock: int | None = None
    try:
        lock = disk.open(draft / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        disk.lock(lock, wait=True)
        disk.write(lock, instance.encode(), 0)
        disk.rename(draft, folder)
    except BaseException:
        if lock is not None:
            disk.close(lock)
        _remove_draft(disk, draft)
        raise
    return folder, lock


def list_spool_folders(disk: Disk, root: Path) -> list[Path]:
    """The spools' folders, oldest first; one with rows and without its lock file is among them. Raises OSError."""
    try:
        names = disk.list_names(root)
    except FileNotFoundError:
        return []
    folders: list[tuple[int, Path]] = []
    for folder in [root / name for name in names if not name.startswith(".")]:
        try:
            folders.append((disk.stat(folder / LOCK_FILE).st_ctime_ns, folder))
        except NotADirectoryError:
            continue
        except FileNotFoundError:
            if _has_rows(disk, folder):
                folders.append((0, folder))
    return [folder for _, folder in sorted(folders)]


def try_lock(disk: Disk, folder: Path) -> int | None:
    """The descriptor that holds the folder's lock; None while somebody else holds it or when the folder is gone."""
    try:
        lock = disk.open(folder / LOCK_FILE, os.O_RDWR | (os.O_CREAT if _has_rows(disk, folder) else 0))
    except FileNotFoundError:
        return None
    try:
        if disk.lock(lock) and disk.fstat(lock).st_nlink > 0:
            return lock
    except BaseException:
        disk.close(lock)
        raise
    disk.close(lock)
    return None


def owner_instance(disk: Disk, folder: Path) -> str:
    """The server whose rows a folder holds: they go into its audit chain. Raises OSError where it cannot be read."""
    return disk.read_all(folder / LOCK_FILE).decode(errors="replace") or folder.name


def remove_spool_folder(disk: Disk, folder: Path) -> None:
    """Remove an empty folder with its lock file; whoever holds the lock closes it afterwards. Raises OSError."""
    disk.unlink(folder / LOCK_FILE)
    disk.remove_folder(folder)


def _has_rows(disk: Disk, folder: Path) -> bool:
    try:
        return any(name.endswith(SEGMENT_SUFFIX) for name in disk.list_names(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove_draft(disk: Disk, draft: Path) -> None:
    try:
        disk.unlink(draft / LOCK_FILE)
        disk.remove_folder(draft)
    except OSError:
        return  # an empty folder that nobody looks into
