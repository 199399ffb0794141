"""Fills in what libraries expect of an environment where it is missing: a home, a user name, folders to write in.

A container may run as any number, without an entry among the users, without HOME, on a root that is only read. Then the
platform's own folder stands in: it is the only one that must be writable.
"""

import os
import pwd
import tempfile
from collections.abc import Callable, MutableMapping
from pathlib import Path


def _user_exists(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _has_temporary_folder() -> bool:
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def fill_environment(
    environ: MutableMapping[str, str],
    folder: Path,
    *,
    user_exists: Callable[[], bool] = lambda: _user_exists(os.getuid()),
    has_temporary_folder: Callable[[], bool] = _has_temporary_folder,
) -> None:
    """Name what is missing, for this process and its children; what is there stays. `folder` is the platform's own."""
    if not user_exists():
        environ["HOME"] = environ.get("HOME") or str(folder)
        environ["USER"] = environ.get("USER") or f"uid-{os.getuid()}"
    home = environ.get("HOME")
    if home and not environ.get("MPLCONFIGDIR") and not os.access(home, os.W_OK):
        environ["MPLCONFIGDIR"] = str(folder / "cache" / "matplotlib")
    if not environ.get("TMPDIR") and not has_temporary_folder():
        temporary = folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        environ["TMPDIR"] = str(temporary)
        tempfile.tempdir = None  # what was found before is looked for anew
