"""Child processes of one parent: started together, healthy before use, stopped on any exit."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from mlplatform.errors import ProcessError
from mlplatform.host.parent_death import end_with_parent
from mlplatform.network.deadline import DeadlineError, run_with_deadline
from mlplatform.network.http_clients import create_http_client

log = logging.getLogger(__name__)
STOP_SECONDS = 10.0
PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class ManagedProcess:
    """One started process and where its output goes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@dataclass
class ProcessGroup:
    """Starts children in `cwd`, their output in `<logs>/<name>.log`; a context manager that stops them all.

    On Linux a child also ends when this process dies without a word (kill -9).
    """

    logs: Path
    cwd: Path | None = None
    processes: list[ManagedProcess] = field(default_factory=list)
    stop_seconds: float = STOP_SECONDS

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> ManagedProcess:
        """Start one child in a process group of its own."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(  # noqa: S603 - commands of this product
                list(command),
                env={**os.environ, **env},
                cwd=self.cwd,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )
        child = ManagedProcess(name, process, log)
        self.processes.append(child)
        return child

    def wait_healthy(self, process: ManagedProcess, probe: Callable[[], bool], seconds: float) -> float:
        """Wait until the probe says yes; returns the seconds it took. Raises ProcessError with the log's end."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if not process.is_running:
                raise ProcessError(
                    f"{process.name} ended with code {process.process.returncode}; its last words:\n{process.tail()}"
                )
            if probe():
                return time.monotonic() - start
            time.sleep(0.1)
        raise ProcessError(f"{process.name} was not healthy within {seconds:g} s; its last words:\n{process.tail()}")

    def find_exited(self) -> ManagedProcess | None:
        """A child that ended by itself, if any."""
        return next((child for child in self.processes if not child.is_running), None)

    def stop(self) -> None:
        """Ask all to end, newest first, and make sure of it."""
        for child in reversed(self.processes):
            _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + self.stop_seconds
        for child in reversed(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, deadline - time.monotonic()))
            _signal_group(child, signal.SIGKILL)
            child.process.wait()
        self.processes.clear()

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, *_exit: object) -> None:
        self.stop()


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGINT end this process as Ctrl-C does, so that `finally` and context managers run.

    SIGINT too: a shell starts background jobs with it ignored.
    """

    def end(*_args: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_after(seconds: float) -> None:
    """End this process after so many seconds, whatever still hangs in it; what is under way is done again by others."""

    def end() -> None:
        log.error("not ended %g s after it was asked to: something hangs, and is left", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def http_ok(url: str) -> Callable[[], bool]:
    """A probe: the address answers with success, its headers within PROBE_SECONDS; its body is not read."""

    def ask() -> bool:
        with create_http_client(url, PROBE_SECONDS) as client, client.stream("GET", url) as response:
            return response.is_success

    def probe() -> bool:
        try:
            return run_with_deadline(PROBE_SECONDS, ask, "probe")
        except (httpx.HTTPError, DeadlineError):
            return False

    return probe


def _signal_group(managed: ManagedProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(managed.process.pid, number)
