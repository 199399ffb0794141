"""The speed of a model on this host: measured when it is swapped in, tuned when an alert asks; it serves nothing."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlplatform.build import Parts
from mlplatform.serve.decode import Decoder, to_png
from mlplatform.serve.holder import Holder, Loaded
from mlplatform.store import evaluations, tasks
from pipelines.predict import set_threads

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


def host_class(threads: int) -> str:
    """Hosts whose latencies may be compared: same machine type, cores and threads."""
    return f"{platform.machine()}-{os.cpu_count()}cpu-{threads}thread"


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
        set_threads(self.threads)  # of the measuring thread: it starts with the library's default
        speed = measure(loaded, self.decoder, self.parts.settings.baseline_calls, self.threads)
        with self.parts.database.write() as connection:
            evaluations.set_baseline(
                connection,
                loaded.name,
                loaded.version,
                "latency",
                host_class(self.threads),
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
            set_threads(threads)
            measured[threads] = measure(loaded, self.decoder, calls, threads)
        before, best = self.threads, min(measured, key=lambda threads: measured[threads].p95_ms)
        set_threads(best)
        self.threads = best
        return {
            "threads_before": before,
            "threads_after": best,
            "measured": [speed.numbers() for speed in measured.values()],
            "instance": self.parts.instance,
        }
