"""Measures how long an engine takes for one image, alone or by turns with another one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.engines.inference_engine import InferenceEngine


def measure_latency(
    engine: InferenceEngine,
    calls: int = 200,
    warmup: int = 20,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Milliseconds of each single-image call, after some that are not counted."""
    images = _random_images(engine, calls + warmup, seed)
    return tuple(_call_milliseconds(engine, image, clock) for image in images)[warmup:]


def measure_interleaved(
    first: InferenceEngine,
    second: InferenceEngine,
    calls: int = 60,
    warmup: int = 10,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of each single-image call of two engines that are called by turns; which one begins alternates."""
    spent: tuple[list[float], list[float]] = ([], [])
    for number, image in enumerate(_random_images(first, calls + warmup, seed)):
        for which in (0, 1) if number % 2 else (1, 0):
            spent[which].append(_call_milliseconds((first, second)[which], image, clock))
    return tuple(spent[0][warmup:]), tuple(spent[1][warmup:])


def _random_images(engine: InferenceEngine, images: int, seed: int) -> NDArray[np.uint8]:
    size = (images, 1, engine.height, engine.width)
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def _call_milliseconds(engine: InferenceEngine, image: NDArray[np.uint8], clock: Callable[[], float]) -> float:
    started = clock()
    engine(image)
    return (clock() - started) * 1000.0
