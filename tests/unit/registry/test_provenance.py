"""Where a run came from."""

import shutil
import subprocess
from pathlib import Path

import pytest

from registry.installed_version import installed_version
from registry.runs import COMMIT_TAG, TRIGGER_TAG, git_revision, provenance_tags

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def checkout(folder: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (folder / "a").write_text("one")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "a"], cwd=folder, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "first"], cwd=folder, check=True)


@needs_git
def test_a_clean_checkout_names_its_whole_commit(tmp_path: Path) -> None:
    checkout(tmp_path)
    revision = git_revision(tmp_path)
    assert revision is not None
    assert len(revision) == 40


@needs_git
def test_a_changed_checkout_says_that_it_is_dirty(tmp_path: Path) -> None:
    checkout(tmp_path)
    (tmp_path / "a").write_text("two")
    assert (git_revision(tmp_path) or "").endswith("-dirty")


def test_a_folder_outside_git_has_no_revision(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None


def test_a_run_is_manual_unless_an_alert_caused_it() -> None:
    assert provenance_tags()[TRIGGER_TAG] == "manual"
    assert provenance_tags("alert-7")[TRIGGER_TAG] == "alert-7"


def test_the_commit_is_tagged_only_when_known() -> None:
    assert COMMIT_TAG not in provenance_tags()
    assert provenance_tags(revision="abc")[COMMIT_TAG] == "abc"


def test_a_missing_package_is_absent() -> None:
    assert installed_version("no-such-package-here") == "absent"
