"""One measurement as a process of its own, bounded in time and memory; it knows no system."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

_KIB: Final = 1024
_POLL_SECONDS: Final = 0.1


def peak_mib() -> float:
    """The most memory this process has held so far (Linux: of this program alone, not of the one that started it)."""
    return _status("self", "VmHWM")


def run(command: Sequence[str], env: Mapping[str, str], most_seconds: float, most_mib: float) -> dict[str, Any]:
    """The JSON of the command's last line; `{"why_not": reason}` where it does not finish within bounds."""
    begun = time.monotonic()
    child = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while True:
            try:
                printed, complained = child.communicate(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() - begun > most_seconds:
                    return {"why_not": f"not done in {most_seconds:g} s"}
                if _status(str(child.pid), "VmRSS") > most_mib:
                    return {"why_not": f"more than {most_mib:g} MiB of memory"}
                continue
            if child.returncode:
                last = (complained.strip().splitlines() or [""])[-1]
                return {"why_not": f"failed with code {child.returncode}: {last}"}
            told: dict[str, Any] = json.loads(printed.splitlines()[-1])
            return told
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _status(process: str, name: str) -> float:
    try:
        lines = (Path("/proc") / process / "status").read_text(encoding="ascii").splitlines()
    except OSError:  # it has just ended
        return 0.0
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return round(int(found[0]) / _KIB, 1) if found else 0.0


def measured(look: Callable[[], Mapping[str, float]], repeats: int) -> dict[str, Any]:
    """Medians of wall and CPU seconds of several looks (the first is not counted), and what the last one saw."""
    taken, seen = [], dict[str, float]()
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        seen = dict(look())
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    counted = taken[1:] or taken
    walls, cpus = zip(*counted, strict=True)
    return {"seconds": round(median(walls), 3), "cpu_seconds": round(median(cpus), 3), "seen": seen}
