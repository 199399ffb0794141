"""Promise: an attacked server answers honest clients within 100 ms, takes little memory and loses nothing.

    python -m benchmarks.hostile [--quick] [--only NAME ...] [--seconds N]

Every attack of `benchmarks/attacks` in turn against one `platform serve` (SQLite, a compact model, `ulimit -v` 2 GiB,
`ulimit -n` 256), from a process of its own, beside honest clients: predictions on kept and on new connections, and
probes of /healthz. For each attack: p99 of honest predictions, the longest probe, failures, and the server's peak of
resident memory over what it held before the first one. At the end the server is told to end, and the ids that clients
were given are looked for in the table. `--quick` attacks for 3 seconds each, otherwise 12. Prints a table and, last,
one JSON object.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from benchmarks.attacks import ATTACKS
from benchmarks.attacks.honest import Honest
from mlplatform.host.processes import ManagedProcess, ProcessGroup, exit_on_signals, free_port, http_ok
from mlplatform.operations.local_stack import platform_command
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions

MEMORY_KIB: Final = 2 * 2**20
FILES: Final = 256
CALM_SECONDS: Final = 1.0
LIMITED: Final = ("/bin/sh", "-c", f'ulimit -v {MEMORY_KIB}; ulimit -n {FILES}; exec "$@"', "limited")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 seconds an attack instead of 12")
    parser.add_argument("--seconds", type=float, help="length of an attack")
    parser.add_argument("--only", nargs="+", choices=sorted(ATTACKS), metavar="NAME", help="these attacks alone")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    seconds = arguments.seconds or (3.0 if arguments.quick else 12.0)
    with tempfile.TemporaryDirectory() as folder, exit_on_signals():
        result = _attacked(Path(folder), arguments.only or list(ATTACKS), seconds, arguments.port or free_port())
    print(json.dumps(result))
    sys.exit(1 if result["lost"] or not result["alive"] else 0)


def _attacked(folder: Path, names: list[str], seconds: float, port: int) -> dict[str, Any]:
    env = {"PLATFORM_HOME": str(folder / "home"), "PLATFORM_LOG_LEVEL": "warning", "PLATFORM_PORT": str(port)}
    _train(folder, env)
    figures: dict[str, dict[str, Any]] = {}
    given: list[str] = []
    with ProcessGroup(folder / "logs", cwd=folder, stop_seconds=30.0) as fleet:
        child = _serving(fleet, env, port)
        with Honest("127.0.0.1", port) as warm:
            time.sleep(seconds)
        given += warm.seen.ids
        before = _resident_mib(child)
        print(f"{'nobody':22} {warm.seen.figures()}", flush=True)
        for name in names:
            if not child.is_running:
                figures[name] = {"alive": False}
                child = _serving(fleet, env, port)
            figures[name] = _one(name, child, folder, port, seconds, before, given)
            print(f"{name:22} {figures[name]}", flush=True)
        alive = child.is_running
        stopped = _stopped(child)
        log = child.log.read_text(errors="replace")
    lost = _lost(folder / "home", given)
    p99 = {name: each.get("honest_p99_ms") for name, each in figures.items()}
    return {
        "attacks": figures,
        "honest_p99_ms": {
            **p99,
            "nobody": warm.seen.figures()["honest_p99_ms"],
            "worst": max((each for each in p99.values() if each is not None), default=0),
        },
        "healthz_max_ms": max(each["healthz_max_ms"] for each in figures.values()),
        "rss_peak_mib": max(each["rss_peak_mib"] for each in figures.values()),
        "answers_5xx": sum(each["answers_5xx"] for each in figures.values()),
        "broken": sum(each["broken"] for each in figures.values()),
        "acknowledged": len(given),
        "lost": lost,
        "alive": alive and all(each["alive"] for each in figures.values()),
        "stopped_seconds": stopped,
        "tracebacks": log.count("Traceback (most recent call last)"),
        "load": os.getloadavg()[0],
    }


def _serving(fleet: ProcessGroup, env: dict[str, str], port: int) -> ManagedProcess:
    child = fleet.start("api", [*LIMITED, *platform_command("serve")], env)
    fleet.wait_healthy(child, http_ok(f"http://127.0.0.1:{port}/readyz"), 120)
    return child


def _one(
    name: str, child: ManagedProcess, folder: Path, port: int, seconds: float, before: float, given: list[str]
) -> dict[str, Any]:
    _forget_peak(child)
    command = [sys.executable, "-m", "benchmarks.attacks", name, str(port), str(folder / "home"), str(seconds)]
    with Honest("127.0.0.1", port) as honest:
        attack = subprocess.Popen(command, preexec_fn=_many_files)
        try:
            attack.wait(seconds + 60)
        except subprocess.TimeoutExpired:
            attack.kill()
            attack.wait()
        time.sleep(CALM_SECONDS)
    given += honest.seen.ids
    seen = honest.seen.figures()
    failures: dict[str, int] = seen["failures"]
    server_errors = sum(count for kind, count in failures.items() if kind.split()[-1].startswith("5"))
    return {
        **seen,
        "rss_peak_mib": round(_peak_mib(child) - before, 1),
        "answers_5xx": server_errors,
        "broken": sum(failures.values()) - server_errors,
        "alive": child.is_running,
    }


def _train(folder: Path, env: dict[str, str]) -> None:
    given = {**os.environ, **env, "PLATFORM_RECIPE": "compact"}
    command = platform_command("train", "--json")
    done = subprocess.run(command, env=given, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"training failed with code {done.returncode}:\n{done.stderr}")


def _many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _status(child: ManagedProcess, key: str) -> float:
    """A figure of the process in MiB; nothing where it has ended."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{child.process.pid}/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024, 1)
    return 0.0


def _resident_mib(child: ManagedProcess) -> float:
    return _status(child, "VmRSS:")


def _peak_mib(child: ManagedProcess) -> float:
    return _status(child, "VmHWM:")


def _forget_peak(child: ManagedProcess) -> None:
    with suppress(OSError):
        Path(f"/proc/{child.process.pid}/clear_refs").write_text("5")


def _stopped(child: ManagedProcess) -> float | None:
    """How long the server took to end when it was told to; None where it did not within half a minute."""
    begun = time.monotonic()
    child.process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(30)
        return round(time.monotonic() - begun, 1)
    return None


def _lost(home: Path, given: list[str]) -> int:
    """How many of the ids are not in the table, once the spool has been sent."""
    database = Database(f"sqlite:///{home / 'platform.db'}")
    try:
        with database.read() as connection:
            kept = set(connection.scalars(select(predictions.c.id)))
    finally:
        database.close()
    return sum(each not in kept for each in given)


if __name__ == "__main__":
    main()
