"""Anchors: heads that moved are written down, lines that cannot be read are passed over, a key tells true ones."""

import json
from pathlib import Path

import pytest

from mlplatform.audit import audit_entries, checkpoints
from mlplatform.context import AppContext
from mlplatform.errors import SettingsError
from tests.support.platform_world import START, FakeClock, prediction, recorded
from tests.support.store_rows import verify_audit_log

pytestmark = pytest.mark.both_databases


def noted(context: AppContext, subject: str) -> None:
    with context.database.write() as connection:
        audit_entries.append(connection, "ada", "look", subject, START)


def test_only_heads_that_moved_are_written_down(context: AppContext, tmp_path: Path, clock: FakeClock) -> None:
    file = tmp_path / "deep" / "anchors.jsonl"
    assert checkpoints.write_checkpoint(context, file, clock()) is None
    assert not file.exists()
    recorded(context.database, prediction())
    first = checkpoints.write_checkpoint(context, file, clock())
    assert first is not None
    assert set(first.heads) == {"log", "unnamed"}
    assert checkpoints.write_checkpoint(context, file, clock.tick(minutes=1)) is None
    noted(context, "clock")
    checkpoints.write_checkpoint(context, file, clock.tick(minutes=1))
    held = list(checkpoints.read_checkpoints(file, None))
    assert [set(each.heads) for each in held] == [{"log", "unnamed"}, {"log"}]
    assert [{name: head[0] for name, head in each.heads.items()} for each in held] == [
        {"log": 1, "unnamed": 1},
        {"log": 2},
    ]
    assert verify_audit_log(context.database, held).anchored == 2


def test_a_key_vouches_for_lines_and_not_for_changed_ones(context: AppContext, tmp_path: Path) -> None:
    key, file = tmp_path / "key", tmp_path / "anchors.jsonl"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    signed = context.replace(settings=context.settings.model_copy(update={"audit_key_file": key}))
    noted(context, "clock")
    made = checkpoints.write_checkpoint(signed, file, START)
    assert made is not None
    assert list(checkpoints.read_checkpoints(file, checkpoints.signing_keys(signed))) == [made]
    line = json.loads(file.read_text())
    line["heads"]["log"][0] = 2
    file.write_text("half a li\n[]\n{}\n" + json.dumps(line) + "\n")
    [forged] = checkpoints.read_checkpoints(file, checkpoints.signing_keys(signed))
    assert not forged.authenticated
    assert any("does not vouch" in fault for fault in verify_audit_log(context.database, [forged], signed=True).faults)


def test_a_key_that_is_missing_or_short_is_refused(context: AppContext, tmp_path: Path) -> None:
    wrong = AppContext(context.settings.model_copy(update={"audit_key_file": tmp_path / "key"}))
    with pytest.raises(SettingsError, match="cannot be read"):
        checkpoints.signing_keys(wrong)
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="holds 5 bytes"):
        checkpoints.signing_keys(wrong)


def test_the_file_is_in_the_home_folder_unless_named(context: AppContext, tmp_path: Path) -> None:
    assert checkpoints.checkpoint_path(context) == context.settings.home / "audit-anchors.jsonl"
    named = AppContext(context.settings.model_copy(update={"audit_anchors": tmp_path / "x"}))
    assert checkpoints.checkpoint_path(named) == tmp_path / "x"
