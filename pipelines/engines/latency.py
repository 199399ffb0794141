"""Measures how long an engine takes for one row, alone or by turns with another one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from pipelines.batch import Batch
from pipelines.data import image_batch
from pipelines.engines.inference_engine import InferenceEngine


def measure_latency(
    engine: InferenceEngine,
    calls: int = 200,
    warmup: int = 20,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Milliseconds of each single-row call, after some that are not counted."""
    rows = _random_rows(engine, calls + warmup, seed)
    return tuple(_call_milliseconds(engine, row, clock) for row in rows)[warmup:]


def measure_interleaved(
    first: InferenceEngine,
    second: InferenceEngine,
    calls: int = 60,
    warmup: int = 10,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of each single-row call of two engines that are called by turns; which one begins alternates."""
    spent: tuple[list[float], list[float]] = ([], [])
    for number, row in enumerate(_random_rows(first, calls + warmup, seed)):
        for which in (0, 1) if number % 2 else (1, 0):
            spent[which].append(_call_milliseconds((first, second)[which], row, clock))
    return tuple(spent[0][warmup:]), tuple(spent[1][warmup:])


def _random_rows(engine: InferenceEngine, rows: int, seed: int) -> list[Batch]:
    """So many batches of one row each."""
    size = (rows, engine.height, engine.width)
    whole = image_batch(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))
    return [whole[row : row + 1] for row in range(rows)]


def _call_milliseconds(engine: InferenceEngine, row: Batch, clock: Callable[[], float]) -> float:
    started = clock()
    engine(row)
    return (clock() - started) * 1000.0
