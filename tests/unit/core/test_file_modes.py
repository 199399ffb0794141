"""New files are their owner's, old ones are repaired by name, and nothing else is touched."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.context import AppContext, create_context
from mlplatform.errors import SettingsError
from mlplatform.host.file_permissions import accessible_to_others, check_spool_owner, restrict_permissions
from mlplatform.operations.doctor.diagnostics import CHECKS, run_checks
from mlplatform.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def home(settings: Settings) -> Path:
    """A home as an older version left it, with things of other people beside."""
    home = settings.home
    for name in ("spool/one", "models/3", "artifacts/deep/er", "mine"):
        (home / name).mkdir(parents=True)
    for name in ("platform.db", "platform.db-wal", "spool/one/0.seg", "artifacts/deep/er/model.onnx", "mine/notes"):
        (home / name).write_text("x")
    for path in (home, *home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return home


def test_what_the_platform_keeps_is_repaired_and_what_others_keep_is_not(home: Path, settings: Settings) -> None:
    assert {path.name for path in accessible_to_others(settings)} >= {"platform.db", "spool", "home"}
    restrict_permissions(settings)
    for name in ("", "spool", "spool/one", "artifacts/deep/er"):
        assert mode(home / name) == 0o700
    for name in ("platform.db", "platform.db-wal", "spool/one/0.seg", "artifacts/deep/er/model.onnx"):
        assert mode(home / name) == 0o600
    assert mode(home / "mine/notes") == 0o666
    assert list(accessible_to_others(settings)) == []
    (home / "new").write_text("x")
    assert mode(home / "new") == 0o600


def test_a_group_may_be_let_in_by_the_setting(home: Path, settings: Settings) -> None:
    restrict_permissions(settings.model_copy(update={"umask": "0007"}))
    assert (mode(home), mode(home / "platform.db"), mode(home / "spool/one")) == (0o770, 0o660, 0o770)
    (home / "new").mkdir()
    assert mode(home / "new") == 0o770


def test_links_are_not_followed_and_the_working_folder_itself_is_left(
    home: Path, settings: Settings, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (home / "report.html").symlink_to(outside)
    (home / "spool" / "link").symlink_to(outside)
    restrict_permissions(settings)
    assert mode(outside) == 0o644
    before = Path.cwd()
    home.chmod(0o755)
    os.chdir(home)
    try:
        restrict_permissions(settings)
        assert mode(home) == 0o755
    finally:
        os.chdir(before)


@pytest.mark.parametrize("wrong", ["77x", "0o77", "0777", "0100", "-7", "99"])
def test_a_mask_that_locks_the_owner_out_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="PLATFORM_UMASK"):
        load_settings(umask=wrong)


@pytest.mark.slow
def test_every_process_is_built_private_and_doctor_names_what_stays_open(home: Path, settings: Settings) -> None:
    create_context(settings)
    assert mode(home / "platform.db") == 0o600
    [found] = [each for each in run_checks(settings) if each.subject == "files"]
    assert (found.mark, "is private" in found.detail) == ("ok", True)
    (home / "platform.db").chmod(0o644)
    [(mark, detail)] = CHECKS["files"](AppContext(settings))
    assert (mark, f"other users may use {home / 'platform.db'}" in detail) == ("problem", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_spool_of_another_user_is_refused_unless_a_group_shares_it(home: Path, settings: Settings) -> None:
    check_spool_owner(settings)
    os.chown(home / "spool/one", 12345, os.getegid())
    with pytest.raises(SettingsError, match="belongs to user 12345"):
        check_spool_owner(settings)
    check_spool_owner(settings.model_copy(update={"umask": "0007"}))
    os.chown(home / "spool", 12345, 12345)
    with pytest.raises(SettingsError, match="belongs to user 12345"):
        check_spool_owner(settings.model_copy(update={"umask": "0007"}))
