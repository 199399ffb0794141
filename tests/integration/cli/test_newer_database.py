"""A database of a newer version: every command says so in a sentence, and doctor says the truth."""

import os
import subprocess

import pytest
from sqlalchemy import text

from mlplatform.context import AppContext
from mlplatform.operations.local_stack import platform_command
from tests.support.command_line import Command


@pytest.fixture(autouse=True)
def newer(store: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation is older than its database."""
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.database.close()
    monkeypatch.setenv("PLATFORM_PORT", "0")


@pytest.mark.parametrize("words", ["status", "watch --probe", "train", "retrain", "keys list", "audit verify", "check"])
def test_a_command_says_that_the_tables_are_newer(platform: Command, words: str) -> None:
    said = platform(*words.split())
    assert said.code == 3
    assert "newer version" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("words", ["serve", "watch"])
def test_a_process_ends_with_one_line_that_says_so(words: str) -> None:
    seen = subprocess.run(platform_command(words), env=os.environ, capture_output=True, text=True, timeout=120)
    assert seen.returncode == 3, seen.stderr
    assert "Traceback" not in seen.stderr
    assert "newer version" in seen.stderr.splitlines()[-1]


def test_doctor_calls_it_a_problem_and_promises_no_upgrade(platform: Command) -> None:
    said = platform("doctor", "--json")
    assert said.code == 1
    assert "newer version" in said.out
    assert "upgrades it" not in said.out
