"""The speed of a model on this host: measured when it is swapped in, tuned when an alert asks; it serves nothing."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from mlplatform.build import Parts
from mlplatform.serve.decode import Decoder, to_png
from mlplatform.serve.holder import Holder, Loaded
from mlplatform.store import evaluations, tasks
from pipelines.engine import Choice, open_model

WARM_UP_CALLS = 20


@dataclass(frozen=True)
class Speed:
    """Milliseconds of single-image calls, decoding included, after a warm-up."""

    p50_ms: float
    p95_ms: float
    calls: int
    threads: int

    def numbers(self) -> dict[str, float | int]:
        """As stored: baselines and task results."""
        return {
            "p50_ms": round(self.p50_ms, 4),
            "p95_ms": round(self.p95_ms, 4),
            "calls": self.calls,
            "threads": self.threads,
        }


@cache
def host_class() -> str:
    """Hosts whose latencies may be compared: same machine type and cores, however they were tuned."""
    return f"{platform.machine()}-{os.cpu_count()}cpu"


def measure(
    loaded: Loaded,
    decoder: Decoder,
    calls: int,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time the path of one picture: decode and predict, as the recorded latency does."""
    noise = np.random.default_rng(0).integers(0, 256, (decoder.height, decoder.width), dtype=np.uint8)
    picture = to_png(noise)
    spent = []
    for _ in range(WARM_UP_CALLS + calls):
        begun = clock()
        loaded.predictor(decoder.images([picture]))
        spent.append((clock() - begun) * 1000)
    kept = np.asarray(spent[WARM_UP_CALLS:])
    return Speed(float(np.percentile(kept, 50)), float(np.percentile(kept, 95)), calls, threads)


@dataclass
class Tuner:
    """Pins latency baselines and carries out `tune-serving` tasks, on the server's own process."""

    parts: Parts
    holder: Holder
    decoder: Decoder
    threads: int

    def pin(self, loaded: Loaded) -> None:
        """Measure a version before it serves; its first measurement per host class is its baseline."""
        speed = measure(loaded, self.decoder, self.parts.settings.baseline_calls, self.threads)
        with self.parts.database.write() as connection:
            evaluations.set_baseline(
                connection,
                loaded.name,
                loaded.version,
                "latency",
                host_class(),
                speed.numbers(),
                self.parts.clock(),
            )

    def work(self) -> int:
        """Carry out the open tuning tasks; returns how many were done."""
        loaded = self.holder.loaded
        if loaded is None:
            return 0
        with self.parts.database.read() as connection:
            waiting = tasks.open_tasks(connection, loaded.name, "tune-serving")
        for task in waiting:
            result = self.tune(loaded, range(1, (os.cpu_count() or 1) + 1))
            with self.parts.database.write() as connection:
                tasks.close_task(connection, task.id, result, self.parts.clock())
        return len(waiting)

    def tune(self, loaded: Loaded, choices: Sequence[int]) -> dict[str, object]:
        """Measure each number of intra-op threads, keep the fastest p95 and say what was before."""
        calls = self.parts.settings.baseline_calls
        measured = {}
        for threads in choices:
            measured[threads] = measure(self._reopened(loaded, threads), self.decoder, calls, threads)
        before, best = self.threads, min(measured, key=lambda threads: measured[threads].p95_ms)
        self.threads = best
        if best != before:
            self.holder.put(self._reopened(loaded, best))
        return {
            "threads_before": before,
            "threads_after": best,
            "measured": [speed.numbers() for speed in measured.values()],
            "instance": self.parts.instance,
        }

    def _reopened(self, loaded: Loaded, threads: int) -> Loaded:
        """The same version, computed with so many intra-op threads."""
        if loaded.folder is None:
            return loaded
        settings = self.parts.settings
        choice = Choice(settings.engine, settings.device, threads)
        return replace(loaded, predictor=open_model(loaded.folder, loaded.predictor.classes, choice))
