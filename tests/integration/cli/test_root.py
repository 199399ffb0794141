"""The top-level commands."""

import socket
from pathlib import Path

import pytest

from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.settings import load_settings
from mlplatform.store import leases
from tests.support.command_line import Command


def test_init_writes_both_files_and_refuses_to_overwrite(platform: Command, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    said = platform("init", str(folder), "--json")
    assert (said.code, said.json) == (0, [str(folder / "alerts.yaml"), str(folder / ".env.example")])
    assert platform("init", str(folder)).code == 5
    assert platform("init", str(folder), "--force").out.startswith("written: ")


def test_doctor_finds_the_problem_and_exits_with_1(platform: Command, store: AppContext) -> None:
    said = platform("doctor", "--json")
    marks = {row["subject"]: row["mark"] for row in said.json if row["mark"] == "problem"}
    assert (said.code, marks) == (1, {"mlflow": "problem"})
    assert "mlflow" in platform("doctor").out


def test_doctor_of_a_sound_deployment_exits_with_0(platform: Command, registry: AppContext) -> None:
    said = platform("doctor", "--json")
    assert (said.code, [row for row in said.json if row["mark"] == "problem"]) == (0, [])


def test_a_setting_that_cannot_work_is_exit_code_3(platform: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_PORT", "99999")
    said = platform("status", "--json")
    assert said.code == 3
    assert "PLATFORM_PORT='99999'" in said.err


def test_a_database_that_is_away_is_exit_code_6(platform: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_DATABASE_URL", "postgresql+psycopg://me:secret@127.0.0.1:9/none")
    said = platform("status")
    assert said.code == 6
    assert "secret" not in said.err


def test_rules_that_are_broken_are_exit_code_3_with_file_line_and_key(
    platform: Command, store: AppContext, tmp_path: Path
) -> None:
    (tmp_path / "alerts.yaml").write_text("version: 1\nmodel: digits\nrulez: []\n")
    for command in ("check", "watch"):
        said = platform(command)
        assert said.code == 3
        assert "alerts.yaml:3: rulez: unknown key; allowed: " in said.err


def test_a_watcher_of_another_model_is_refused(platform: Command, store: AppContext, tmp_path: Path) -> None:
    rules = (tmp_path / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(rules.replace("model: digits", "model: letters"))
    assert platform("watch").code == 3


def test_the_probe_tells_whether_a_watcher_lives_here(platform: Command, store: AppContext) -> None:
    assert (platform("watch", "--probe", "--json").code, platform("watch", "--probe", "--json").json) == (1, [])
    alive = f"{socket.gethostname()}:1:abc"
    with store.database.write() as connection:
        leases.record_heartbeat(connection, "watcher", alive, utc_now(), {})
        leases.record_heartbeat(connection, "watcher", "elsewhere:1:abc", utc_now(), {})
    said = platform("watch", "--probe", "--json")
    assert (said.code, said.json) == (0, [alive])


def test_a_data_set_that_is_not_known_is_exit_code_4(platform: Command) -> None:
    said = platform("data", "fetch", "letters", "--json")
    assert (said.code, said.out) == (4, "")
    assert "known: emnist, mnist, qmnist" in said.err


def test_a_platform_with_its_own_mlflow_named_elsewhere_is_refused(platform: Command) -> None:
    said = platform("up")
    assert said.code == 3
    assert "PLATFORM_MLFLOW_URI" in said.err


def test_an_unknown_pipeline_is_exit_code_4(platform: Command, store: AppContext) -> None:
    for command in ("retrain", "train"):
        assert platform(command, "--pipeline", "letters").code == 4


def test_missing_training_data_is_exit_code_3(platform: Command, store: AppContext, tmp_path: Path) -> None:
    said = platform("train", "--data-dir", str(tmp_path / "none"))
    assert said.code == 3
    assert str(tmp_path / "none") in said.err


def test_carrying_out_a_retraining_that_is_not_known_is_exit_code_1(platform: Command, store: AppContext) -> None:
    assert platform("work-retraining", "nope", "me").code == 1


def test_the_environment_of_these_tests_is_their_own(tmp_path: Path) -> None:
    assert load_settings().home == tmp_path / "home"
