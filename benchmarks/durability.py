"""Promise: whatever is killed and whenever, no answered prediction is lost or doubled, and waiting takes no memory.

Trains a small model, then lets a storm loose on two API servers: one of them is ended by SIGKILL and the database is
taken away, again and again at random, while four clients write down the ids they are given. Then the table is held
against the ledgers. `--database URL` names a PostgreSQL server (a schema of its own is made and dropped; servers reach
it through a door that is shut); without it the store is SQLite and is "away" while somebody holds its write lock.

Then one server answers at full speed while its database is away for `--stalled` seconds: `memory_mb` is its resident
memory before, at each quarter and at the end. `put_us` is what keeping one row costs (median and 99th percentile,
microseconds), with and without fsync. `--quick` takes one minute of storm and 15 s of stall, otherwise five and 60.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text

from mlplatform.clock import utc_now
from mlplatform.context import create_context
from mlplatform.host.processes import ManagedProcess, ProcessGroup, free_port
from mlplatform.ids import uuid7
from mlplatform.operations.local_stack import platform_command
from mlplatform.operations.operator_actions import promote_version
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.spool.record_format import encode_prediction
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from pipelines.data import image_row, images_of
from pipelines.datasets.optdigits import load_optdigits
from tests.support.storm import Locked, Outcome, Stoppable, Storm, compared, settled
from tests.support.tcp_proxy import TcpProxy

QUICK_SERVER = {"PLATFORM_POLL_SECONDS": "0.5", "PLATFORM_BASELINE_CALLS": "40", "PLATFORM_LOG_LEVEL": "warning"}
PUTS = 2_000


class Shut:
    """PostgreSQL behind a door."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.stop, self.resume = proxy.shut, proxy.reopen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--database", default="", help="URL of a PostgreSQL server; SQLite otherwise")
    parser.add_argument("--seconds", type=float, help="length of the storm")
    parser.add_argument("--stalled", type=float, help="length of the stall")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    storm_seconds = arguments.seconds or (60.0 if arguments.quick else 300.0)
    stalled = arguments.stalled or (15.0 if arguments.quick else 60.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is removed
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        env = {"PLATFORM_HOME": str(home), **QUICK_SERVER}
        _train(Path(folder), env)
        with _store(home, arguments.database) as (database, stoppable, url):
            env |= {"PLATFORM_DATABASE_URL": url}
            with ProcessGroup(Path(folder) / "logs", cwd=Path(folder)) as fleet:
                outcome = _storm(fleet, env, database, stoppable, home, storm_seconds, arguments.seed)
            with ProcessGroup(Path(folder) / "logs", cwd=Path(folder)) as fleet:
                memory = _stalled(fleet, env, stoppable, home, stalled)
        puts = {f"fsync_{name}": _puts(Path(folder), fsync=name == "on") for name in ("off", "on")}
    figures: dict[str, Any] = {
        **asdict(outcome),
        "database": "postgresql" if arguments.database else "sqlite",
        "storm_seconds": storm_seconds,
        **memory,
        "put_us": puts,
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))
    if outcome.lost or outcome.doubled or outcome.mistallied:
        raise SystemExit(1)


def _train(folder: Path, env: dict[str, str]) -> None:
    command = platform_command("train", "--json")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
    given = {**outside, **env, "PLATFORM_RECIPE": "compact"}
    done = subprocess.run(command, env=given, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"training failed with code {done.returncode}:\n{done.stderr}")


@contextmanager
def _store(home: Path, server: str) -> Iterator[tuple[Database, Stoppable, str]]:
    """The store, the way to stop it, and its URL for servers."""
    if not server:
        url = f"sqlite:///{home / 'platform.db'}"
        database = Database(url)
        yield database, Locked(database), url
        database.close()
        return
    schema, outside = f"benchmark_{uuid7()[-12:]}", Database(server)
    with outside.write() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    target = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
    proxy = TcpProxy(target.host or "127.0.0.1", target.port or 5432)
    try:
        own = target.render_as_string(hide_password=False)
        context = create_context(Settings(_env_file=None, home=home, database_url=own))
        promote_version(context, 1, "moved to PostgreSQL", "benchmark", force=True)
        through = target.set(host="127.0.0.1", port=proxy.local_port).render_as_string(hide_password=False)
        yield context.database, Shut(proxy), through
        context.database.close()
    finally:
        proxy.close()
        with outside.write() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        outside.close()


def _storm(
    fleet: ProcessGroup,
    env: dict[str, str],
    database: Database,
    stoppable: Stoppable,
    home: Path,
    seconds: float,
    seed: int,
) -> Outcome:
    def start(port: int) -> ManagedProcess:
        return fleet.start(f"api-{port}", platform_command("serve", "--port", str(port)), env)

    def kill(child: ManagedProcess) -> None:
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        fleet.processes.remove(child)

    storm = Storm((free_port(), free_port()), start, kill, stoppable, seed=seed)
    ledgers = storm.run(seconds)
    settled(home / "spool", 120)
    return compared(database, ledgers, storm)


def _stalled(
    fleet: ProcessGroup, env: dict[str, str], stoppable: Stoppable, home: Path, seconds: float
) -> dict[str, Any]:
    """One server's memory while rows pile up behind a database that is away, and how long they then take."""
    children: list[ManagedProcess] = []

    def start(port: int) -> ManagedProcess:
        children.append(fleet.start(f"stalled-{port}", platform_command("serve", "--port", str(port)), env))
        return children[-1]

    calm = Storm((free_port(),), start, lambda _: None, stoppable, calm=(1e6, 1e6), clients=4)
    calm.run(3.0)  # warm: what grows once has grown
    pid = children[-1].process.pid
    stoppable.stop()
    samples = [_resident_mb(pid)]
    try:
        ledgers = []
        for _ in range(4):
            ledgers += calm.again(seconds / 4)
            samples.append(_resident_mb(pid))
    finally:
        stoppable.resume()
    begun = time.monotonic()
    settled(home / "spool", 300)
    rows = sum(len(ids) for ledger in ledgers for ids in ledger.given.values())
    return {
        "stalled_seconds": seconds,
        "stalled_rows": rows,
        "memory_mb": samples,
        "memory_growth_mb": round(samples[-1] - samples[0], 1),
        "replayed_rows_per_s": round(rows / max(0.1, time.monotonic() - begun)),
    }


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _puts(folder: Path, *, fsync: bool) -> dict[str, float]:
    """What keeping one row costs its answer, in microseconds."""
    image = images_of(load_optdigits().batch)[0]
    row = PredictionRecord(uuid7(), utc_now(), "digits", 1, "", "3", [0.1] * 10, 0.5, 2.0, uuid7(), "client")
    spool_directory = SpoolDirectory(folder / f"puts-{fsync}", "bench:1:x", 2**30, fsync=fsync)
    spent = []
    for _ in range(PUTS if not fsync else PUTS // 10):
        begun = time.perf_counter()
        spool_directory.append([encode_prediction(PredictionWithInput(row, image_row(image)))])
        if fsync:
            spool_directory.sync(spool_directory.appended_bytes)
        spent.append((time.perf_counter() - begun) * 1e6)
    spool_directory.close()
    steps = statistics.quantiles(spent, n=100)
    return {"median": round(steps[49], 1), "p99": round(steps[98], 1)}


if __name__ == "__main__":
    main()
