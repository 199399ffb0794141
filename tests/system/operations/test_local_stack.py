"""The whole platform on one machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from mlplatform.errors import ProcessError, SettingsError
from mlplatform.host.processes import ManagedProcess, ProcessGroup, free_port
from mlplatform.operations.local_stack import (
    mlflow_announcement,
    mlflow_auth_environment,
    mlflow_url,
    platform_command,
    run_platform,
    start_platform,
)
from mlplatform.settings import Settings
from registry.mlflow_server import quiet_environment
from tests.support.monitoring_world import RULES
from tests.support.platform_processes import gone


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own and free ports."""
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    for name, value in quiet_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLATFORM_PORT", str(free_port()))
    monkeypatch.setenv("PLATFORM_MLFLOW_PORT", str(free_port()))
    (tmp_path / "alerts.yaml").write_text(RULES, encoding="utf-8")


def test_a_command_is_run_by_this_interpreter() -> None:
    assert platform_command("serve", "--json") == [sys.executable, "-P", "-m", "mlplatform", "serve", "--json"]


def test_mlflow_listens_where_the_settings_say(settings: Settings) -> None:
    assert mlflow_url(settings.model_copy(update={"mlflow_port": 5001})) == "http://127.0.0.1:5001"


def test_mlflow_beyond_loopback_warns_unless_it_asks_for_passwords(settings: Settings) -> None:
    assert "warning" not in mlflow_announcement(settings)[0]
    open_ = settings.model_copy(update={"mlflow_host": "0.0.0.0"})
    shown, text = mlflow_announcement(open_)
    assert "anybody may use it" in shown["warning"]
    assert shown["warning"] in text
    assert "warning" not in mlflow_announcement(open_.model_copy(update={"mlflow_auth": "basic"}))[0]


def test_mlflows_passwords_are_refused_while_something_is_missing(settings: Settings, tmp_path: Path) -> None:
    assert mlflow_auth_environment(settings, tmp_path, {}) == {}
    with pytest.raises(SettingsError, match=r"PLATFORM_MLFLOW_AUTH=basic: .*MLFLOW_AUTH_ADMIN_PASSWORD is not set"):
        mlflow_auth_environment(settings.model_copy(update={"mlflow_auth": "basic"}), tmp_path, {})
    assert not (tmp_path / "mlflow-auth.ini").exists()


def test_an_mlflow_elsewhere_contradicts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_MLFLOW_URI", "http://mlflow.test:5000")
    with pytest.raises(SettingsError, match=r"http://mlflow\.test:5000.*platform serve"):
        run_platform(as_json=False)


class FailingFleet(ProcessGroup):
    """Children that end at once, and what they were asked to be."""

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> ManagedProcess:
        return super().start(name, ["sh", "-c", f"echo {name} has no luck; exit 1"], env)


def test_a_process_that_ends_at_once_stops_the_others(tmp_path: Path) -> None:
    with FailingFleet(tmp_path / "logs") as fleet, pytest.raises(ProcessError, match="mlflow has no luck"):
        start_platform(fleet, Settings(), {})
    assert fleet.processes == []


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            platform_command("up", "--json"), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def test_up_starts_three_healthy_processes_and_a_request_to_end_stops_them_all(
    running: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert running.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        line = running.stdout.readline()
        assert line, (tmp_path / "errors").read_text()
        lines.append(line)
    told = json.loads("".join(lines))
    assert told["seconds"].keys() == {"mlflow", "api", "watcher"}
    settings = Settings()
    assert told["addresses"] == {
        "api": f"http://127.0.0.1:{settings.port}/docs",
        "mlflow": f"http://127.0.0.1:{settings.mlflow_port}",
    }
    assert httpx.get(f"http://127.0.0.1:{settings.port}/healthz", timeout=10).is_success
    assert httpx.get(f"http://127.0.0.1:{settings.mlflow_port}/health", timeout=10).is_success
    children = children_of(running.pid)
    assert len(children) == 3
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0
    assert all(gone(pid) for pid in children)
