"""The speed of a model on this host, called alone and under load; it decides nothing by it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlplatform.predictions.stored_image import to_png
from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.image_codec import Decoder
from mlplatform.serve.inference.model_slot import Loaded
from mlplatform.serve.tuning.compute_config import Plan

WARM_UP_CALLS: Final = 20
CALLERS: Final = 16


@dataclass(frozen=True)
class Speed:
    """Milliseconds of single-image calls, decoding included, after a warm-up."""

    p50_ms: float
    p95_ms: float
    calls: int
    threads: int

    def numbers(self) -> dict[str, float | int]:
        """As stored: baselines."""
        return {
            "p50_ms": round(self.p50_ms, 4),
            "p95_ms": round(self.p95_ms, 4),
            "calls": self.calls,
            "threads": self.threads,
        }


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


def under_load(loaded: Loaded, plan: Plan, seconds: float, callers: int = CALLERS) -> float:
    """Images a second that so many threads get answered, each asking again once it has its answer."""
    images = np.random.default_rng(0).integers(0, 256, (1, loaded.predictor.height, loaded.predictor.width))
    picture = images.astype(np.uint8)
    batcher = Batcher(plan.lanes, plan.batch_max, plan.batch_wait_ms)
    counts, until = [0] * callers, time.perf_counter() + seconds

    def ask(number: int) -> None:
        while time.perf_counter() < until:
            batcher.wait(loaded, picture)
            counts[number] += 1

    begun = time.perf_counter()
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(callers)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    spent = time.perf_counter() - begun
    batcher.close()
    return sum(counts) / spent
