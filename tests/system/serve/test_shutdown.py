"""A server that is told to end says so first, finishes what it can, and is gone whatever hangs: real processes."""

import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select

from mlplatform.errors import SettingsError
from mlplatform.host.processes import ManagedProcess, ProcessGroup, free_port, http_ok
from mlplatform.recording.spool.directory import inspect_spools
from mlplatform.serve.http1.connection_limits import ConnectionTable
from mlplatform.serve.http1.graceful_shutdown import DEFAULT_CLOSE_SECONDS, EXIT_CODE, GracefulServer, ShutdownState
from mlplatform.settings import load_settings
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions
from tests.support import api_process
from tests.support.platform_world import picture

ROOT = Path(__file__).parents[3]
BODY = {"images": [picture(1).tolist()]}
PATIENT_SECONDS = 60


class Live:
    """A server process, its home folder and its store."""

    def __init__(self, fleet: ProcessGroup, home: Path, sqlite_template: Path) -> None:
        self.fleet, self.home, self.port = fleet, home, free_port()
        home.mkdir()
        shutil.copy(sqlite_template, home / "platform.db")
        self.address = f"http://127.0.0.1:{self.port}"
        self.database = Database(f"sqlite:///{home / 'platform.db'}")

    def start(self, recorder: str = "thread", **settings: str) -> ManagedProcess:
        command = [sys.executable, str(api_process.__file__), str(self.home), str(self.port), recorder]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
        env = {f"PLATFORM_{name.upper()}": value for name, value in settings.items()}
        child = self.fleet.start("api", command, {"PYTHONPATH": paths, **env})
        self.fleet.wait_healthy(child, http_ok(f"{self.address}/readyz"), PATIENT_SECONDS)
        return child

    def predict(self) -> str:
        answer = httpx.post(f"{self.address}/v1/predict", json=BODY, timeout=PATIENT_SECONDS)
        assert answer.status_code == 200
        return str(answer.json()["predictions"][0]["id"])

    def connect(self, start: bytes) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENT_SECONDS)
        opened.sendall(start)
        return opened

    def recorded(self) -> int:
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(predictions)) or 0

    def kept(self) -> int:
        """Rows in the table and in the spools."""
        return self.recorded() + sum(seen.rows for seen in inspect_spools(self.home / "spool"))


@pytest.fixture
def running(tmp_path: Path, sqlite_template: Path) -> Iterator[Live]:
    with ProcessGroup(tmp_path / "logs") as fleet:
        made = Live(fleet, tmp_path / "home", sqlite_template)
        yield made
        made.database.close()


def test_readiness_is_false_first_and_requests_are_taken_until_the_end(running: Live) -> None:
    child = running.start(drain_seconds="5", stop_seconds="30")
    os.kill(child.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENT_SECONDS
    answer = httpx.get(f"{running.address}/readyz")
    while answer.status_code == 200 and time.monotonic() < deadline:
        answer = httpx.get(f"{running.address}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")
    running.predict()
    assert httpx.get(f"{running.address}/healthz").status_code == 200
    assert child.process.wait(PATIENT_SECONDS) == -signal.SIGTERM
    assert running.kept() == 1


def test_who_waits_at_the_keyboard_waits_for_no_balancer(running: Live) -> None:
    child = running.start(drain_seconds="600", stop_seconds="700")
    os.kill(child.process.pid, signal.SIGINT)
    assert child.process.wait(PATIENT_SECONDS) == 0


HALF: dict[str, bytes] = {
    "nothing": b"",
    "half a line": b"POST /v1/pre",
    "half the headers": b"POST /v1/predict HTTP/1.1\r\nhost: a\r\n",
    "half a body": b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 99\r\n\r\n{",
    "half a form": b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    b"content-length: 99\r\n\r\n--x\r\n",
    "an answer it does not read": b"GET /static-offline-docs/redoc.standalone.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
    * 8,
}


def test_a_server_ends_whatever_hangs_and_keeps_what_it_answered(running: Live) -> None:
    """The store is locked for ever, and clients of every kind never finish."""
    child = running.start(drain_seconds="0.5", stop_seconds="3")
    given = {running.predict() for _ in range(3)}
    with running.database.write(), ThreadPoolExecutor(5) as pool:
        given |= {running.predict() for _ in range(3)}
        held = [running.connect(start) for start in HALF.values()]
        label = {"prediction_id": "x", "label": "1"}
        for _ in range(5):
            pool.submit(_ended_or_answered, running.address, label)
        time.sleep(0.2)
        os.kill(child.process.pid, signal.SIGTERM)
        child.process.wait(PATIENT_SECONDS)
        for each in held:
            each.close()
    assert child.process.returncode in (-signal.SIGTERM, EXIT_CODE)
    assert running.kept() == len(given)
    assert "Traceback" not in child.log.read_text()


def _ended_or_answered(address: str, label: dict[str, str]) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(f"{address}/v1/feedback", json=label, timeout=PATIENT_SECONDS)


def test_clients_that_never_finish_do_not_hold_a_healthy_server(running: Live) -> None:
    child = running.start(drain_seconds="0", stop_seconds="9")
    held = [running.connect(start) for start in HALF.values()]
    answered = running.predict()
    os.kill(child.process.pid, signal.SIGTERM)
    assert child.process.wait(PATIENT_SECONDS) == -signal.SIGTERM  # by itself, and not by force
    for each in held:
        each.close()
    assert running.recorded() == len({answered})
    assert "Traceback" not in child.log.read_text()


def test_a_recording_process_that_stands_still_does_not_keep_its_server(running: Live) -> None:
    child = running.start("process", drain_seconds="0", stop_seconds="2")
    running.predict()
    writer = _child(child.process.pid)
    os.kill(writer, signal.SIGSTOP)
    try:
        running.predict()
        os.kill(child.process.pid, signal.SIGTERM)
        child.process.wait(PATIENT_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.kill(writer, signal.SIGKILL)
    assert child.process.returncode in (-signal.SIGTERM, EXIT_CODE)
    assert running.kept() == 2


def _child(pid: int) -> int:
    """The process that the server has started, once it has."""
    deadline = time.monotonic() + PATIENT_SECONDS
    while time.monotonic() < deadline:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                    return int(stat.parent.name)
        time.sleep(0.05)
    raise TimeoutError(f"process {pid} has no child")


def test_an_end_that_takes_too_long_is_made_by_force(caplog: pytest.LogCaptureFixture) -> None:
    left: list[int] = []
    gone = threading.Event()

    def leave(code: int) -> None:
        left.append(code)
        gone.set()

    config = uvicorn.Config(lambda: None, log_config=None)
    ending = ShutdownState(total_seconds=0.05)
    server = GracefulServer(config, ConnectionTable(), shutdown_state=ending, drain_seconds=0.0, exit_process=leave)
    with caplog.at_level(logging.CRITICAL):
        server.handle_exit(signal.SIGTERM, None)
        assert gone.wait(PATIENT_SECONDS)
    assert (left, ending.has_started, server.should_exit) == ([143], True, True)
    assert "PLATFORM_STOP_SECONDS" in caplog.text


def test_an_end_in_time_is_left_alone() -> None:
    left: list[int] = []
    config = uvicorn.Config(lambda: None, log_config=None)
    server = GracefulServer(
        config,
        ConnectionTable(),
        shutdown_state=ShutdownState(total_seconds=0.2),
        drain_seconds=0.0,
        exit_process=left.append,
    )
    server.handle_exit(signal.SIGTERM, None)
    server.mark_closed()
    [watching] = [each for each in threading.enumerate() if each.name == "stopping"]
    watching.join(PATIENT_SECONDS)
    assert left == []


def test_the_parts_get_what_time_is_left() -> None:
    now = [100.0]
    ending = ShutdownState(total_seconds=9.0, clock=lambda: now[0])
    assert (ending.seconds_left(), ending.has_started) == (DEFAULT_CLOSE_SECONDS, False)
    ending.start()
    now[0] = 103.0
    ending.start()
    assert ending.seconds_left() == 5.0
    now[0] = 120.0
    assert ending.seconds_left() == 0.0


def test_a_server_must_have_time_to_stop() -> None:
    with pytest.raises(SettingsError, match="stop_seconds 9 must be at least a second more than drain_seconds 9"):
        load_settings(drain_seconds=9)
    assert json.loads(json.dumps(load_settings(drain_seconds=8).stop_seconds)) == 9.0
