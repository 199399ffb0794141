"""Measures a model's latency and throughput on this host: called alone, and under load."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.request_decoder import Decoders
from mlplatform.serve.tuning.compute_config import ComputeConfig
from pipelines.engines.latency import random_rows

WARM_UP_CALLS: Final = 20
CONCURRENT_CALLERS: Final = 16


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds of single-row calls, decoding included, after a warm-up."""

    p50_ms: float
    p95_ms: float
    calls: int
    threads: int

    def to_dict(self) -> dict[str, float | int]:
        """As stored: baselines."""
        return {
            "p50_ms": round(self.p50_ms, 4),
            "p95_ms": round(self.p95_ms, 4),
            "calls": self.calls,
            "threads": self.threads,
        }


def measure_latency(
    model: LoadedModel,
    decoders: Decoders,
    calls: int,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencySummary:
    """Time the path of one input: decode and predict, as the recorded latency does."""
    decoder = decoders.of(model.predictor)
    sent = decoder.example(seed=0)
    spent = []
    for _ in range(WARM_UP_CALLS + calls):
        begun = clock()
        model.predictor(decoder.decode_example(sent))
        spent.append((clock() - begun) * 1000)
    kept = np.asarray(spent[WARM_UP_CALLS:])
    return LatencySummary(float(np.percentile(kept, 50)), float(np.percentile(kept, 95)), calls, threads)


def measure_throughput(
    model: LoadedModel, config: ComputeConfig, seconds: float, callers: int = CONCURRENT_CALLERS
) -> float:
    """Rows a second that so many threads get answered, each asking again once it has its answer, and at least once."""
    row = random_rows(model.predictor.inputs, 1, seed=0)
    batcher = Batcher(config.lanes, config.batch_max, config.batch_wait_ms)
    counts, until = [0] * callers, time.perf_counter() + seconds

    def ask(number: int) -> None:
        while not counts[number] or time.perf_counter() < until:  # a busy machine may start a thread too late
            batcher.run_blocking(model, row)
            counts[number] += 1

    begun = time.perf_counter()
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(callers)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    spent = time.perf_counter() - begun
    batcher.close()
    return sum(counts) / spent
