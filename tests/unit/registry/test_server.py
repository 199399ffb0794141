"""The MLflow server's command line and environment."""

import configparser
import os
import sys
from pathlib import Path

from registry.mlflow_server import (
    REQUEST_TIMEOUT_SECONDS,
    missing_password_settings,
    password_config,
    quiet_environment,
    server_command,
)


def test_the_command_runs_one_worker_of_this_interpreter() -> None:
    command = server_command("127.0.0.1", 5000)
    assert command[:5] == [sys.executable, "-P", "-m", "mlflow", "server"]
    assert command[command.index("--workers") + 1] == "1"


def test_a_shared_folder_turns_the_artifact_proxy_off() -> None:
    command = server_command("127.0.0.1", 5000, artifact_root="file:///a")
    assert command[command.index("--default-artifact-root") + 1] == "file:///a"
    assert "--no-serve-artifacts" in command


def test_a_destination_turns_the_artifact_proxy_on() -> None:
    command = server_command("127.0.0.1", 5000, artifacts_destination="/data")
    assert command[command.index("--artifacts-destination") + 1] == "/data"
    assert "--serve-artifacts" in command
    assert "--no-serve-artifacts" not in command


def test_allowed_hosts_are_joined_by_commas() -> None:
    command = server_command("0.0.0.0", 5000, allowed_hosts=["mlflow", "mlflow:5000"])
    assert command[-2:] == ["--allowed-hosts", "mlflow,mlflow:5000"]


def test_a_plugin_around_the_server_is_named_last() -> None:
    assert server_command("127.0.0.1", 5000, app_name="basic-auth")[-2:] == ["--app-name", "basic-auth"]


def test_passwords_need_a_secret_and_a_first_password_and_say_so() -> None:
    missing = missing_password_settings({})
    assert any("MLFLOW_FLASK_SERVER_SECRET_KEY is not set" in fault for fault in missing)
    assert any("MLFLOW_AUTH_ADMIN_PASSWORD is not set" in fault for fault in missing)
    given = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "s", "MLFLOW_AUTH_ADMIN_PASSWORD": "p"}
    assert len(missing_password_settings(given)) == len(missing) - 2


def test_the_configuration_of_users_reads_as_it_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "auth.ini"
    path.write_text(password_config("postgresql://u:p%40w@host/db"))
    parser = configparser.ConfigParser()
    parser.read(path)
    assert parser["mlflow"]["database_uri"] == "postgresql://u:p%40w@host/db"
    assert parser["mlflow"]["default_permission"] == "NO_PERMISSIONS"


def test_the_environment_forbids_telemetry_pickles_and_helper_processes() -> None:
    environment = quiet_environment()
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["DO_NOT_TRACK"] == "true"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(REQUEST_TIMEOUT_SECONDS)


def test_asking_for_the_environment_changes_nothing() -> None:
    before = dict(os.environ)
    quiet_environment()["MLFLOW_DISABLE_TELEMETRY"] = "false"
    assert dict(os.environ) == before
    assert quiet_environment()["MLFLOW_DISABLE_TELEMETRY"] == "true"
