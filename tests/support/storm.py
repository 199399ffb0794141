"""Servers killed and a database stopped at random under load, and a client's ledger held against the table.

Two servers share a home and a database. A killer ends one of them by SIGKILL and starts it again; a stopper takes the
database away and gives it back, at the same time. Every client writes down the ids it was given. At the end the spools
are waited for, and the table is compared with the ledgers. It knows no setting of the servers.
"""

import base64
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
from sqlalchemy import func, select

from mlplatform.host.processes import ManagedProcess, http_ok
from mlplatform.ids import uuid7
from mlplatform.recording.spool.directory import inspect_spools
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import prediction_counts, predictions
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.grey_png import encode_png

READY_SECONDS = 120.0
PATIENCE = 6


class Stoppable(Protocol):
    """A database that can be taken away."""

    def stop(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What the ledgers and the table say together. `mistallied` is how far the counts by minute are off the rows."""

    acknowledged: int
    lost: int
    doubled: int
    mistallied: int
    recorded: int
    refused: int
    broken: int
    kills: int
    database_stops: int


@dataclass
class Ledger:
    """What one client was told: the ids it was given, by request; how often it was refused or cut off."""

    given: dict[str, list[str]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    broken: int = 0


def some_digits() -> Callable[[random.Random, int], dict[str, object]]:
    """Makes requests of real digits."""
    digits = load_optdigits()

    def draw(chance: random.Random, count: int) -> dict[str, object]:
        images = [images_of(digits.batch)[chance.randrange(len(digits))] for _ in range(count)]
        return {"images": [base64.b64encode(encode_png(image)).decode() for image in images]}

    return draw


@dataclass
class Storm:
    """One run. `start` starts the server at a port; `kill` ends a child by SIGKILL; times are in seconds.

    On a slow machine it goes on until `least` requests were answered and `least_faults` of either kind were made, up to
    PATIENCE times as long as told.
    """

    ports: tuple[int, ...]
    start: Callable[[int], ManagedProcess]
    kill: Callable[[ManagedProcess], None]
    database: Stoppable
    seed: int = 0
    calm: tuple[float, float] = (0.5, 4.0)
    away: tuple[float, float] = (0.3, 3.0)
    clients: int = 4
    least: int = 0
    least_faults: int = 0
    kills: int = 0
    database_stops: int = 0
    inputs: Callable[[random.Random, int], dict[str, object]] = field(default_factory=some_digits)
    """The part of a request's body that holds so many inputs."""
    _ending: threading.Event = field(default_factory=threading.Event)
    _faults: list[Exception] = field(default_factory=list)
    _running: dict[int, ManagedProcess] = field(default_factory=dict)

    def run(self, seconds: float) -> list[Ledger]:
        """Storm for so long; the database and all servers are there at the end."""
        self._running = {port: self.start(port) for port in self.ports}
        for port in self.ports:
            self._await(port)
        return self.again(seconds)

    def again(self, seconds: float) -> list[Ledger]:
        """Storm over the servers that run already, for so long, with new ledgers."""
        self._ending.clear()
        ledgers = [Ledger() for _ in range(self.clients)]
        jobs = [lambda ledger=ledger, n=n: self._ask(ledger, n) for n, ledger in enumerate(ledgers)]
        threads = [threading.Thread(target=self._steady, args=(job,)) for job in (*jobs, self._kill, self._stop)]
        for thread in threads:
            thread.start()
        self._ending.wait(seconds)
        deadline = time.monotonic() + (PATIENCE - 1) * seconds
        while not self._is_enough(ledgers) and time.monotonic() < deadline:
            self._ending.wait(0.2)
        self._ending.set()
        for thread in threads:
            thread.join()
        if self._faults:
            raise self._faults[0]
        for port in self.ports:
            self._await(port)
        return ledgers

    def _is_enough(self, ledgers: list[Ledger]) -> bool:
        answered = sum(len(ledger.given) for ledger in ledgers)
        return answered >= self.least and min(self.kills, self.database_stops) >= self.least_faults

    def _steady(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as fault:  # noqa: BLE001 - a thread's edge: the run ends and raises it
            self._faults.append(fault)
            self._ending.set()

    def _ask(self, ledger: Ledger, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        with httpx.Client(timeout=10.0, trust_env=False) as client:
            while not self._ending.is_set():
                count = chance.choice((1, 1, 1, 5))
                body = self.inputs(chance, count)
                request = uuid7()
                ledger.sent[request] = count
                port = chance.choice(self.ports)
                try:
                    told = client.post(f"http://127.0.0.1:{port}/v1/predict", json={**body, "request_id": request})
                except httpx.HTTPError:
                    ledger.broken += 1
                    self._ending.wait(0.02)
                    continue
                if told.status_code == 200:
                    ledger.given[request] = [each["id"] for each in told.json()["predictions"]]
                else:
                    ledger.refused += 1
                    self._ending.wait(0.02)

    def _kill(self) -> None:
        chance = random.Random(f"{self.seed} kill")
        while not self._ending.wait(chance.uniform(*self.calm)):
            port = chance.choice(self.ports)
            if self._running[port].is_running:
                self.kill(self._running[port])
                self.kills += 1
            self._running[port] = self.start(port)
            self._await(port, chance.uniform(0.0, READY_SECONDS / 20))  # also kill one that is still starting

    def _stop(self) -> None:
        chance = random.Random(f"{self.seed} stop")
        while not self._ending.wait(chance.uniform(*self.calm)):
            self.database.stop()
            self.database_stops += 1
            self._ending.wait(chance.uniform(*self.away))
            self.database.resume()

    def _await(self, port: int, seconds: float = READY_SECONDS) -> None:
        """Wait until the server answers; one that ended, for want of a database, is started again."""
        deadline, ready = time.monotonic() + seconds, http_ok(f"http://127.0.0.1:{port}/readyz")
        while not ready():
            if time.monotonic() > deadline:
                if seconds < READY_SECONDS:
                    return
                raise TimeoutError(f"server {port} was not ready in {seconds:g} s:\n{self._running[port].tail()}")
            if not self._running[port].is_running:
                self._running[port] = self.start(port)
            time.sleep(0.1)


def settled(spools: Path, seconds: float) -> None:
    """Wait until no row waits in any spool; raises TimeoutError saying what does."""
    deadline = time.monotonic() + seconds
    while left := [seen for seen in inspect_spools(spools) if seen.rows]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"rows still wait in the spools: {left}")
        time.sleep(0.2)


def compared(database: Database, ledgers: list[Ledger], storm: Storm) -> Outcome:
    """The ledgers against the table: every id given is there, and no request left more rows than it had images."""
    with database.read() as connection:
        rows = connection.execute(select(predictions.c.id, predictions.c.request_id)).all()
        tallied = connection.scalar(select(func.sum(prediction_counts.c.answers))) or 0
    kept, of_request = Counter(row.id for row in rows), Counter(row.request_id for row in rows)
    given = [key for ledger in ledgers for ids in ledger.given.values() for key in ids]
    sent = {request: n for ledger in ledgers for request, n in ledger.sent.items()}
    return Outcome(
        acknowledged=len(given),
        lost=sum(key not in kept for key in given),
        doubled=sum(max(0, n - sent.get(request, 0)) for request, n in of_request.items()),
        mistallied=abs(tallied - len(rows)),
        recorded=len(rows),
        refused=sum(ledger.refused for ledger in ledgers),
        broken=sum(ledger.broken for ledger in ledgers),
        kills=storm.kills,
        database_stops=storm.database_stops,
    )


class Locked:
    """SQLite's way of being away: somebody holds its write lock."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held = contextlib.ExitStack()

    def stop(self) -> None:
        """Take the write lock."""
        self._held.enter_context(self._database.write())

    def resume(self) -> None:
        """Give it back."""
        self._held.close()
