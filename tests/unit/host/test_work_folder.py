"""A work folder is gone after its work; one of a killed process goes at the next, a living process keeps its own."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.host.work_folder import work_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from mlplatform.host.work_folder import work_folder
with work_folder(Path(sys.argv[1])) as folder:
    (folder / "golden").write_text("rows")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _fail_in(place: Path) -> None:
    with work_folder(place) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").write_text("x")
        raise ValueError("not today")


def test_it_is_for_this_user_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not today"):
        _fail_in(tmp_path / "home" / "work")
    assert list((tmp_path / "home" / "work").iterdir()) == []


def test_what_a_killed_process_left_goes_at_the_next_work(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    left = list(tmp_path.glob("*/golden"))
    assert len(left) == 1
    with work_folder(tmp_path):
        assert not left[0].parent.exists()


def test_two_at_once_keep_their_folders_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = tmp_path / "work"
    place.mkdir()
    (place / "link").symlink_to(tmp_path / "elsewhere")
    with work_folder(place) as first, work_folder(place) as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
    assert (tmp_path / "elsewhere").is_dir()
    assert [path.name for path in place.iterdir()] == ["link"]
