"""Keeps files and folders of the home from other users of the machine: new ones by the umask, those there by repair.

Inputs, client ids, digests of keys and predictions lie in the home. What belongs to this user and is the platform's by
name is repaired; no owner is changed.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlplatform.errors import SettingsError
from mlplatform.settings import Settings

PRIVATE_NAME_PREFIXES: Final = (
    "platform.db", "mlflow.db", "mlflow-auth", "search.db", "spool", "models", "artifacts", "reports", "report.html",
    "checkpoints", "logs", "demo", "audit-anchors", "audit.key", "adopting",
)  # fmt: skip
"""How names of what the platform keeps in its home begin."""


def restrict_permissions(settings: Settings) -> None:
    """Let this process and its children create files for their user alone, and repair what an older version left."""
    os.umask(settings.umask_bits)
    for path in accessible_to_others(settings):
        remove_permissions(path, settings.umask_bits)


def accessible_to_others(settings: Settings) -> Iterator[Path]:
    """The home and what lies directly in it, as far as others may use it; within those it looks at nothing."""
    home = settings.home.resolve()
    try:
        entries = sorted(path for path in home.iterdir() if path.name.startswith(PRIVATE_NAME_PREFIXES))
    except OSError:
        return  # not there yet, or another user's
    for path in entries:
        if _is_accessible(path, settings.umask_bits):
            yield path
    if home not in (Path.cwd(), Path.home(), Path(home.anchor)) and _is_accessible(home, settings.umask_bits):
        yield home


def remove_permissions(path: Path, mask: int) -> None:
    """Take what the mask names from a file, or from a folder and all it holds, the folder itself last.

    What belongs to others or lies on a disk that is only read stays as it is; so does everything behind a link.
    """
    if path.is_symlink():
        return
    if path.is_dir() and path.name.startswith(PRIVATE_NAME_PREFIXES):
        for folder, names, files in os.walk(path, topdown=False):
            for name in (*files, *names):
                _clear_mode_bits(Path(folder, name), mask)
    _clear_mode_bits(path, mask)


def check_spool_owner(settings: Settings) -> None:
    """Raise SettingsError where a spool belongs to somebody else: its rows would be recorded as this platform's own.

    Where PLATFORM_UMASK lets the group in, a spool of this process's groups is taken for the platform's own.
    """
    root = settings.spool_folder
    for path in (root, *(root.iterdir() if root.is_dir() else ())):
        try:
            owner = path.lstat()
        except FileNotFoundError:
            continue  # recorded and removed by another server at this moment
        shared = not settings.umask_bits & 0o070 and owner.st_gid in (os.getegid(), *os.getgroups())
        if owner.st_uid != os.geteuid() and not shared:
            raise SettingsError(
                f"{path} belongs to user {owner.st_uid}, and this process runs as user {os.geteuid()}: what waits "
                "there is not taken over. Run as that user, chown the folder, or name another PLATFORM_HOME; servers "
                "of several users may share one with PLATFORM_UMASK=0007 and a common group"
            )


def _is_accessible(path: Path, mask: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return bool(status.st_mode & mask) and not sticky and not stat.S_ISLNK(status.st_mode)


def _clear_mode_bits(path: Path, mask: int) -> None:
    try:
        mode = path.lstat().st_mode
        if mode & mask and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~mask)
    except OSError:
        return  # gone meanwhile, another user's, or on a disk that is only read: doctor names what stays open
