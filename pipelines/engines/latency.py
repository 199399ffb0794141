"""Measures how long an engine takes for one row, alone or by turns with another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import image_batch
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import DataError
from registry.model_contract import Column, ImageInputs, Inputs, TableInputs


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
    whole = random_rows(engine.inputs, rows, seed)
    return [whole[row : row + 1] for row in range(rows)]


def random_rows(inputs: Inputs, rows: int, seed: int) -> Batch:
    """So many rows that a model of these inputs can answer; raises DataError for inputs that nothing answers."""
    generator = np.random.default_rng(seed)
    if isinstance(inputs, ImageInputs):
        return image_batch(generator.integers(0, 256, (rows, inputs.height, inputs.width), dtype=np.uint8))
    if isinstance(inputs, TableInputs):
        return Batch({column.name: _random_values(column, rows, generator) for column in inputs.columns})
    raise DataError(f"no rows can be drawn for {inputs}; give a model of pictures or of a table")


def _random_values(column: Column, rows: int, generator: np.random.Generator) -> NDArray[Any]:
    if column.kind in ("category", "text"):
        values = np.empty(rows, dtype=object)
        values[:] = [str(name) for name in generator.choice(column.known or ("",), rows)]
        return values
    low = column.low if column.low is not None else 0.0
    high = column.high if column.high is not None else max(1.0, low)
    drawn: NDArray[np.float64] = generator.uniform(min(low, high), high, rows)
    return np.rint(drawn) if column.kind in ("whole", "yes-no") else drawn


def _call_milliseconds(engine: InferenceEngine, row: Batch, clock: Callable[[], float]) -> float:
    started = clock()
    engine(row)
    return (clock() - started) * 1000.0
