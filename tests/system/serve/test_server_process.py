"""The server as a process: what it says, what it refuses over a real socket, and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from mlplatform.host.processes import ManagedProcess, ProcessGroup, free_port, http_ok
from mlplatform.serve.run_server import startup_message
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions
from tests.support import api_process
from tests.support.platform_world import picture

ROOT = Path(__file__).parents[3]
BODY = {"images": [picture(1).tolist()]}


def said(host: str, auth: str = "auto", port: int = 8000) -> tuple[dict[str, str], str]:
    return startup_message(Settings(_env_file=None, host=host, port=port, auth=auth))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_on_loopback_says_its_address_and_no_warning(host: str) -> None:
    assert said(host) == ({"address": f"http://{host}:8000", "auth": "off"}, f"API server on http://{host}:8000")


def test_a_server_imports_no_library_of_training() -> None:
    code = "import sys, mlplatform.serve.app; print([m for m in ('torch', 'captum', 'mlflow') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    assert said("::1", port=80)[0]["address"] == "http://[::1]:80"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7"])
def test_a_server_beyond_loopback_asks_for_keys_unless_told_otherwise_and_then_warns(host: str) -> None:
    shown, text = said(host)
    assert (shown["auth"], set(shown)) == ("on", {"address", "auth"})
    assert "platform keys create" in text
    shown, text = said(host, "off")
    assert "without authentication" in shown["warning"]
    assert "without authentication" in text


class Api:
    """A running server process."""

    def __init__(self, child: ManagedProcess, address: str, home: Path) -> None:
        self.child, self.address, self.home = child, address, home

    def rows(self) -> list[str]:
        database = Database(f"sqlite:///{self.home / 'platform.db'}")
        with database.read() as connection:
            found = list(connection.scalars(select(predictions.c.id)))
        database.close()
        return found


@pytest.fixture
def api(tmp_path: Path, sqlite_template: Path) -> Iterator[Api]:
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    shutil.copy(sqlite_template, home / "platform.db")
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(api_process.__file__), str(home), str(port)]
    with ProcessGroup(tmp_path / "logs") as fleet:
        child = fleet.start("api", command, {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])})
        fleet.wait_healthy(child, http_ok(f"{address}/readyz"), 60)
        yield Api(child, address, home)


def hundred_megabytes() -> Iterator[bytes]:
    for _ in range(100):
        yield b"x" * 2**20


def test_a_large_body_over_a_socket_is_answered_413_and_traffic_ends_whole(api: Api) -> None:
    _refuses_large_bodies(api)
    _ends_whole(api)


def _refuses_large_bodies(api: Api) -> None:
    with httpx.Client(base_url=api.address, timeout=30) as client:
        for path in ("/v1/predict", "/v1/feedback"):
            for content in (b"x" * (100 * 2**20), hundred_megabytes()):
                answer = client.post(path, content=content, headers={"content-type": "application/json"})
                assert (answer.status_code, answer.json()["status"]) == (413, 413)
        assert client.post("/v1/predict", json=BODY).status_code == 200
    large = api.home / "large"
    large.write_bytes(b"x" * (100 * 2**20))
    if curl := shutil.which("curl"):
        for options in ([], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]):
            command = [curl, "-sS", "--max-time", "60", "--data-binary", f"@{large}", *options, "-w", "\n%{http_code}"]
            command += ["-H", "Content-Type: application/json", f"{api.address}/v1/predict"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            body, _, status = ended.stdout.rpartition("\n")
            assert (ended.returncode, status, json.loads(body)["status"]) == (0, "413", 413), (options, ended.stderr)
    large.unlink()


def _ends_whole(api: Api) -> None:
    """SIGTERM amid traffic: what was accepted is answered, and what was answered is written."""
    answered: list[str] = []
    broken: list[str] = []
    told = threading.Event()

    def send(_: int) -> None:
        with httpx.Client(base_url=api.address, timeout=30) as client:
            while True:
                in_time = not told.is_set()
                try:
                    answer = client.post("/v1/predict", json=BODY)
                except httpx.ConnectError:
                    return  # nobody listens any more
                except httpx.TransportError as error:
                    if in_time:  # one sent later may meet a connection that is being closed
                        broken.append(f"{type(error).__name__}: {error}")
                    return
                assert answer.status_code == 200
                answered.extend(item["id"] for item in answer.json()["predictions"])

    with ThreadPoolExecutor(6) as senders:
        sending = [senders.submit(send, number) for number in range(6)]
        deadline = time.monotonic() + 30
        while len(answered) < 12 and time.monotonic() < deadline:
            time.sleep(0.02)
        told.set()
        os.kill(api.child.process.pid, signal.SIGTERM)
        for one in sending:
            one.result(20)
    api.child.process.wait(20)
    kept = api.rows()
    assert broken == []
    assert len(answered) >= 12
    assert set(answered) <= set(kept)
    assert len(kept) == len(set(kept))
