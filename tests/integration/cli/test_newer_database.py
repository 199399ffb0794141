"""A database of a newer version: every command says so in a sentence, and doctor says the truth."""

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import text

from mlplatform.operations.local_stack import platform_command
from mlplatform.store.database import Database
from tests.support.platform_processes import RULES


@pytest.fixture
def newer(tmp_path: Path, sqlite_template: Path) -> dict[str, str]:
    """The environment of an installation that is older than its database."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "platform.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{home / 'platform.db'}")
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    rules = tmp_path / "alerts.yaml"
    rules.write_text(RULES, encoding="utf-8")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
    return {**outside, "PLATFORM_HOME": str(home), "PLATFORM_ALERTS_FILE": str(rules), "PLATFORM_PORT": "0"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", ["status", "serve", "watch", "watch --probe", "train", "retrain", "keys list", "audit verify", "check"]
)
def test_a_command_says_in_one_line_that_the_tables_are_newer(newer: dict[str, str], words: str) -> None:
    seen = subprocess.run(platform_command(*words.split()), env=newer, capture_output=True, text=True, timeout=120)
    assert seen.returncode == 3, seen.stderr
    assert "Traceback" not in seen.stderr
    assert "newer version" in seen.stderr.splitlines()[-1]


@pytest.mark.slow
def test_doctor_calls_it_a_problem_and_promises_no_upgrade(newer: dict[str, str]) -> None:
    seen = subprocess.run(platform_command("doctor", "--json"), env=newer, capture_output=True, text=True, timeout=120)
    assert seen.returncode == 1
    assert "newer version" in seen.stdout
    assert "upgrades it" not in seen.stdout
