"""Child processes: healthy before use, stopped on any exit."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlplatform.errors import ProcessError
from mlplatform.host.processes import ProcessGroup, exit_on_signals, free_port, http_ok
from tests.support.platform_processes import gone

SLEEP = ("sleep", "60")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ProcessGroup]:
    with ProcessGroup(tmp_path / "logs") as fleet:
        yield fleet


def test_a_child_gets_its_environment_and_writes_to_its_log(fleet: ProcessGroup) -> None:
    child = fleet.start("greeter", ["sh", "-c", 'echo "hello $WHOM"; echo trouble >&2'], {"WHOM": "world"})
    child.process.wait(10)
    assert child.log == fleet.logs / "greeter.log"
    assert child.tail() == "hello world\ntrouble"
    assert child.tail(1) == "trouble"
    assert not child.is_running


def test_a_healthy_child_is_waited_for(fleet: ProcessGroup, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = fleet.start("slow", ["sh", "-c", f"sleep 0.3; touch {ready}; sleep 60"], {})
    assert 0.2 < fleet.wait_healthy(child, ready.exists, 10) < 10


def test_a_child_that_ends_too_early_is_reported_with_its_last_words(fleet: ProcessGroup) -> None:
    child = fleet.start("clumsy", ["sh", "-c", "echo no such file; exit 4"], {})
    with pytest.raises(ProcessError, match=r"clumsy ended with code 4; its last words:\nno such file"):
        fleet.wait_healthy(child, lambda: False, 10)


def test_a_child_that_never_becomes_healthy_is_reported(fleet: ProcessGroup) -> None:
    child = fleet.start("silent", SLEEP, {})
    with pytest.raises(ProcessError, match=r"silent was not healthy within 0\.2 s"):
        fleet.wait_healthy(child, lambda: False, 0.2)


def test_the_dead_are_noticed(fleet: ProcessGroup) -> None:
    fleet.start("lasting", SLEEP, {})
    assert fleet.find_exited() is None
    ended = fleet.start("ended", ["true"], {})
    ended.process.wait(10)
    assert fleet.find_exited() is ended


def test_leaving_the_block_by_an_error_stops_every_child_and_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    fleet = ProcessGroup(tmp_path)

    def parent_fails() -> None:
        with fleet:
            child = fleet.start("parent", ["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], {})
            fleet.wait_healthy(child, lambda: pid_file.exists() and pid_file.read_text().strip() != "", 10)
            raise RuntimeError("the parent fails")

    with pytest.raises(RuntimeError, match="the parent fails"):
        parent_fails()
    assert fleet.processes == []
    assert gone(int(pid_file.read_text()))


def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    fleet = ProcessGroup(tmp_path, stop_seconds=0.3)
    child = fleet.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], {})
    fleet.wait_healthy(child, lambda: child.tail() == "ready", 10)
    fleet.stop()
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_ends_when_its_parent_is_killed_without_a_word(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from mlplatform.host.processes import ProcessGroup\n"
        f"child = ProcessGroup(Path({str(tmp_path)!r})).start('child', ['sleep', '60'], {{}})\n"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_request_to_end_runs_what_is_to_be_run_on_the_way_out(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def asked_to_end() -> None:
        with exit_on_signals():
            os.kill(os.getpid(), number)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        asked_to_end()
    assert signal.getsignal(number) is before


def test_a_probe_says_whether_an_address_answers_well() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/good" else 503)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    port = free_port()
    assert not http_ok(f"http://127.0.0.1:{port}/good")()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert http_ok(f"http://127.0.0.1:{port}/good")()
        assert not http_ok(f"http://127.0.0.1:{port}/bad")()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
