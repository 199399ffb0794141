"""The MLflow server's command line and environment."""

import os
import sys

from registry.server import REQUEST_TIMEOUT_SECONDS, quiet_environment, server_command


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
