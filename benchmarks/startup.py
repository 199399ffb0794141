"""Promise: the command line answers at once, and the server is ready soon; measured in fresh processes.

`--quick` takes 3 runs of each, otherwise 9. The limit beside it is `python -c pass` in the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlplatform.host.processes import ProcessGroup, free_port, http_ok
from mlplatform.operations.local_stack import platform_command

HEALTHY_SECONDS = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    runs = 3 if parser.parse_args().quick else 9
    python = _median(runs, lambda: _run([sys.executable, "-c", "pass"]))
    figures = {
        "runs": runs,
        "python_pass_s": python,
        "help_s": _median(runs, lambda: _run(platform_command("--help"))),
        "import_library_s": {
            name: _median(min(runs, 3), lambda name=name: _run([sys.executable, "-c", f"import {name}"]))  # type: ignore[misc]
            for name in ("torch", "mlflow", "evidently")
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        env = {"PLATFORM_HOME": folder, "PLATFORM_LOG_LEVEL": "warning"}
        _run(platform_command("status", "--json"), env)
        figures["status_s"] = _median(runs, lambda: _run(platform_command("status", "--json"), env))
        figures["api_healthy_s"] = _median(min(runs, 5), lambda: _api(Path(folder), env))
    figures["help_over_python"] = round(figures["help_s"] / python, 1)  # type: ignore[operator]
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def _median(runs: int, once: Callable[[], float]) -> float:
    return round(statistics.median(once() for _ in range(runs)), 3)


def _run(command: list[str], env: dict[str, str] | None = None) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def _api(home: Path, env: dict[str, str]) -> float:
    """Seconds from the start of `platform serve` until /healthz answers."""
    port = free_port()
    begun = time.perf_counter()
    with ProcessGroup(home / "logs") as fleet:
        child = fleet.start("api", platform_command("serve", "--port", str(port)), env)
        fleet.wait_healthy(child, http_ok(f"http://127.0.0.1:{port}/healthz"), HEALTHY_SECONDS)
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
