"""Promise: answers recorded durably at three times the rate of MLflow, BentoML and LitServe that record nothing.

One machine, one run: the same network on ONNX Runtime with one thread, the same pictures as JSON, one picture a
request, sent by wrk over loopback. All servers run all the time and are loaded in turn, round by round, each time in
another order; figures are medians over rounds. `rps` is reached by closed-loop connections, `p50_ms` and `p99_ms` at
one rate for all, half of what the slowest reaches. The limits: ONNX Runtime called in a loop, and a FastAPI route that
returns a constant. `ours_raw` is sent raw tensors. The answer cache is off: every answer is computed. `cpu_ms` is the
processor time of the server per request, which other work on the machine changes least. `--soak` then loads ours alone
at 80 % of what it reached, and looks at its memory every half a minute: `soak`.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from benchmarks.shim.stage import QUIET, System, prepare, systems
from mlplatform.errors import ProcessError
from mlplatform.host.processes import ManagedProcess, ProcessGroup, exit_on_signals, free_port, http_ok
from pipelines.data import image_batch
from pipelines.engines.onnx_engine import load_onnx_engine

PEERS: Final = ("mlflow", "bentoml", "litserve")
STARTING_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 30
"""A slower answer counts as an error; wrk's own two seconds are a busy machine's doing."""
WARM_UP_SECONDS: Final = 2
SOAK_STEP_SECONDS: Final = 30
Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 3 seconds instead of 7 of 6")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--database", default="", help="a store's URL instead of SQLite in a fresh folder")
    parser.add_argument("--soak", type=int, default=0, help="seconds at 80 %% of capacity at the end (10 minutes: 600)")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; install it (apt-get install wrk, brew install wrk) and run again")
    rounds, seconds = (3, 3) if arguments.quick else (7, 6)
    with tempfile.TemporaryDirectory() as name, exit_on_signals():
        told = _measured(Path(name), arguments, rounds, seconds)
    for key, value in told.items():
        print(f"{key}: {value}")
    print(json.dumps(told))


def _measured(folder: Path, arguments: argparse.Namespace, rounds: int, seconds: int) -> dict[str, Any]:
    model, connections = prepare(folder), arguments.connections
    closed: dict[str, Figures] = defaultdict(lambda: defaultdict(list))
    paced: dict[str, Figures] = defaultdict(lambda: defaultdict(list))
    with ProcessGroup(folder / "logs") as fleet:
        running = start_all(fleet, systems(folder, model, arguments.database))
        for system, _, address in running:
            load(folder, system, address, WARM_UP_SECONDS, connections, 0)
        for number in range(rounds):
            for system, child, address in random.Random(number).sample(running, len(running)):
                before = _cpu_seconds(child.process.pid)
                told = load(folder, system, address, seconds, connections, 0)
                spent = _cpu_seconds(child.process.pid) - before
                _note(closed[system.name], {**told, "cpu_ms": 1000 * spent / told["requests"]})
            closed["bare"]["rps"].append(_bare(model, 1.0))
        rate = min(statistics.median(figures["rps"]) for figures in closed.values()) / 2
        for number in range(rounds):
            for system, _, address in random.Random(100 + number).sample(running, len(running)):
                _note(paced[system.name], load(folder, system, address, seconds, connections, rate))
        memory = {system.name: _memory_mib(child.process.pid) for system, child, _ in running}
        recorder = {system.name: drained(address) for system, _, address in running if system.name == "ours"}
        told = figures(closed, paced, memory, rate, recorder)
        if arguments.soak:
            ours = next(each for each in running if each[0].name == "ours")
            told["soak"] = _soaked(folder, ours, arguments.soak, connections, 0.8 * told["rps"]["ours"])
    return told


def _soaked(
    folder: Path, ours: tuple[System, ManagedProcess, str], seconds: int, connections: int, rate: float
) -> dict[str, Any]:
    """Ours alone at one rate: its memory, its rows in the spool and its p99, every half a minute."""
    system, child, address = ours
    reached, p99, memory, queued = [], [], [_memory_mib(child.process.pid)], []
    for _ in range(max(1, seconds // SOAK_STEP_SECONDS)):
        told = load(folder, system, address, SOAK_STEP_SECONDS, connections, rate)
        reached.append(round(told["rps"]))
        p99.append(told["p99_ms"])
        memory.append(_memory_mib(child.process.pid))
        queued.append(httpx.get(f"{address}/readyz", timeout=10, trust_env=False).json()["recorder"]["queued"])
    counts = drained(address)
    return {
        "seconds": seconds,
        "rate": round(rate),
        "rps": reached,
        "p99_ms": p99,
        "rss_mib": memory,
        "queued": queued,
        "lost": counts["dropped"] + counts["failed"] + counts["refused"],
    }


def start_all(fleet: ProcessGroup, all_of_them: list[System]) -> list[tuple[System, ManagedProcess, str]]:
    """Every server that answers, with its address; one that does not start is told and left out."""
    running = []
    for system in all_of_them:
        address = f"http://127.0.0.1:{(port := free_port())}"
        command = [part.format(port=port) for part in system.command]
        fleet.cwd = system.folder
        child = fleet.start(system.name, command, {**QUIET, **system.environment})
        try:
            fleet.wait_healthy(child, http_ok(address + system.alive), STARTING_SECONDS)
        except ProcessError as error:
            print(f"{system.name} is left out: {error}")
            continue
        running.append((system, child, address))
    return running


def load(
    folder: Path, system: System, address: str, seconds: int, connections: int, rate: float
) -> Mapping[str, float]:
    """What wrk saw; it must have seen no error."""
    script = str(folder / f"{system.script}.lua")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={ANSWER_SECONDS}s", "-s", script]
    done = subprocess.run(
        [*command, address + system.path],
        env={**os.environ, "RATE": str(rate)},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"wrk told nothing about {system.name}: {done.stdout}{done.stderr}")
    told: dict[str, float] = json.loads(lines[0].removeprefix("RESULT "))
    if told["errors"]:
        raise SystemExit(f"{system.name} answered {told['errors']} of {told['requests']} requests with an error")
    return {**told, "rps": told["requests"] / told["seconds"]}


def _note(figures: Figures, told: Mapping[str, float]) -> None:
    for key in ("rps", "p50_ms", "p95_ms", "p99_ms", "cpu_ms"):
        if key in told:
            figures[key].append(told[key])


def _bare(model: Path, seconds: float) -> float:
    """Single pictures a second through ONNX Runtime in a loop of this process."""
    predictor = load_onnx_engine(model, tuple("0123456789"))
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    rows = [image_batch(image[None]) for image in images]
    begun, made = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        predictor(rows[made % len(rows)])
        made += 1
    return made / (time.perf_counter() - begun)


def drained(address: str) -> dict[str, int]:
    """The recorder's counts once nothing waits any more."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        counts: dict[str, int] = httpx.get(f"{address}/readyz", timeout=10, trust_env=False).json()["recorder"]
        if not counts["queued"] or time.monotonic() > deadline:
            return counts
        time.sleep(0.2)


def _family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family = {pid}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return family


def _memory_mib(pid: int) -> float:
    """Resident memory of a process tree, shared pages counted once (PSS)."""
    total = 0
    for each in _family(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return round(total / 1024, 1)


def _cpu_seconds(pid: int) -> float:
    """Processor time a process tree has used so far."""
    ticks = 0
    for each in _family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def figures(
    closed: Mapping[str, Figures],
    paced: Mapping[str, Figures],
    memory: Mapping[str, float],
    rate: float,
    recorder: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    def middle(of: Mapping[str, Figures], key: str, digits: int) -> dict[str, float]:
        return {name: round(statistics.median(figures[key]), digits) for name, figures in of.items() if key in figures}

    rps = middle(closed, "rps", 0)
    p99 = middle(paced, "p99_ms", 3)
    peers = {name: rps[name] for name in PEERS if name in rps}
    cpu = middle(closed, "cpu_ms", 3)
    pairs = zip(closed["ours"]["rps"], closed["ours_unrecorded"]["rps"], strict=True)
    recording = statistics.median(100 * (1 - with_it / without) for with_it, without in pairs)
    return {
        "rps": rps,
        "rps_range": {name: [round(min(each["rps"])), round(max(each["rps"]))] for name, each in closed.items()},
        "cpu_ms": cpu,
        "cpu_ratio_best_peer": None if not peers else round(min(cpu[name] for name in peers) / cpu["ours"], 2),
        "p99_ms_closed": middle(closed, "p99_ms", 2),
        "rate": round(rate),
        "p50_ms": middle(paced, "p50_ms", 3),
        "p95_ms": middle(paced, "p95_ms", 3),
        "p99_ms": p99,
        "limit_rps": {"bare_onnx": rps["bare"], "constant_route": rps["constant"]},
        "ratio_best_peer": None if not peers else round(rps["ours"] / max(peers.values()), 2),
        "share_of_limit": round(rps["ours"] / rps["constant"], 2),
        "recording_cost_pct": round(recording, 1),
        "recording_p99_ms": round(p99["ours"] - p99["ours_unrecorded"], 3),
        "recorder": dict(recorder.get("ours", {})),
        "rss_mib": memory,
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
