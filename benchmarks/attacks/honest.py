"""Honest clients beside an attack: how long their answers take, and which ids they were given."""

import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits

EVERY_SECONDS: Final = 0.025
PATIENCE_SECONDS: Final = 30.0


@dataclass
class Seen:
    """What honest clients saw: milliseconds of each predict and each probe, failures by status or name, ids given."""

    predict_ms: list[float] = field(default_factory=list)
    alive_ms: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Median and 99th percentile of predictions, the longest probe, what failed."""
        steps = statistics.quantiles(self.predict_ms, n=100) if len(self.predict_ms) > 1 else [0.0] * 99
        return {
            "answered": len(self.predict_ms),
            "honest_p50_ms": round(steps[49], 1),
            "honest_p99_ms": round(steps[98], 1),
            "healthz_max_ms": round(max(self.alive_ms, default=0.0), 1),
            "failures": dict(sorted(self.failures.items())),
        }


class Honest:
    """Two clients that keep their connection, one that makes a new one each time, and a probe; a context manager."""

    def __init__(self, address: str, port: int) -> None:
        self.seen = Seen()
        self._url = f"http://{address}:{port}"
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._bodies = [{"images": [image.tolist()]} for image in images_of(load_optdigits().batch)[:64]]
        jobs = (self._predict, self._predict, self._predict_anew, self._probe)
        self._threads = [threading.Thread(target=job) for job in jobs]

    def __enter__(self) -> "Honest":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exit: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _predict(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
            number = 0
            while not self._ending.wait(EVERY_SECONDS):
                number += 1
                self._ask(client, number)

    def _predict_anew(self) -> None:
        number = 0
        while not self._ending.wait(EVERY_SECONDS):
            number += 1
            with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
                self._ask(client, number)

    def _ask(self, client: httpx.Client, number: int) -> None:
        begun = time.perf_counter()
        try:
            answer = client.post("/v1/predict", json=self._bodies[number % len(self._bodies)])
        except httpx.HTTPError as error:
            self._failed(type(error).__name__)
            return
        spent = 1000 * (time.perf_counter() - begun)
        if answer.status_code != 200:
            self._failed(str(answer.status_code))
            return
        with self._lock:
            self.seen.predict_ms.append(spent)
            self.seen.ids += [each["id"] for each in answer.json()["predictions"]]

    def _probe(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
            while not self._ending.wait(EVERY_SECONDS):
                begun = time.perf_counter()
                try:
                    status = client.get("/healthz").status_code
                except httpx.HTTPError as error:
                    self._failed(f"healthz {type(error).__name__}")
                    continue
                self.seen.alive_ms.append(1000 * (time.perf_counter() - begun))
                if status != 200:
                    self._failed(f"healthz {status}")

    def _failed(self, name: str) -> None:
        with self._lock:
            self.seen.failures[name] = self.seen.failures.get(name, 0) + 1
