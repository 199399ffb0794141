"""Measures a model's latency and throughput on this host: called alone, and under load."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.request_decoder import ImageDecoder
from mlplatform.serve.tuning.compute_config import ComputeConfig
from pipelines.data import image_batch
from pipelines.image.grey_png import encode_png

WARM_UP_CALLS: Final = 20
CONCURRENT_CALLERS: Final = 16


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds of single-image calls, decoding included, after a warm-up."""

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
    decoder: ImageDecoder,
    calls: int,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencySummary:
    """Time the path of one picture: decode and predict, as the recorded latency does."""
    noise = np.random.default_rng(0).integers(0, 256, (decoder.height, decoder.width), dtype=np.uint8)
    picture = encode_png(noise)
    spent = []
    for _ in range(WARM_UP_CALLS + calls):
        begun = clock()
        model.predictor(decoder.decode([picture]))
        spent.append((clock() - begun) * 1000)
    kept = np.asarray(spent[WARM_UP_CALLS:])
    return LatencySummary(float(np.percentile(kept, 50)), float(np.percentile(kept, 95)), calls, threads)


def measure_throughput(
    model: LoadedModel, config: ComputeConfig, seconds: float, callers: int = CONCURRENT_CALLERS
) -> float:
    """Images a second that so many threads get answered, each asking again once it has its answer."""
    images = np.random.default_rng(0).integers(0, 256, (1, model.predictor.height, model.predictor.width))
    row = image_batch(images.astype(np.uint8))
    batcher = Batcher(config.lanes, config.batch_max, config.batch_wait_ms)
    counts, until = [0] * callers, time.perf_counter() + seconds

    def ask(number: int) -> None:
        while time.perf_counter() < until:
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
