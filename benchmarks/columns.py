"""Promise: counting the columns of a table takes 4 µs a row of 20 columns, in the process that writes predictions.

Rows of 16 numbers and 4 categories, a few of them missing, counted in batches as they are recorded. `write_us` is what
recording a row takes in all on SQLite, with its columns counted; `write_uncounted_us` the same where nothing says which
columns it has. `--quick` takes fewer repetitions.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from mlplatform.ids import uuid7
from mlplatform.predictions.column_counts import COUNT_TYPE, ColumnCounters
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.version_contracts import VersionContracts
from pipelines.inputs.column_counter import ColumnCounter, with_profile
from pipelines.inputs.table_codec import TableCodec
from registry.catalog import Catalog
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification

ROWS: Final = 5_000
BATCHES: Final = (1, 50, 500)
START: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
COUNTED: Final = 1
UNCOUNTED: Final = 2
"""A version whose contract is pinned, and one of which nothing is known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    repeats = 20 if parser.parse_args().quick else 200
    columns, values = draw_table(ROWS)
    counter, codec = ColumnCounter(columns), TableCodec(columns)
    contents = [row.content for row in codec.rows_of(list(zip(*values, strict=True)))]
    by_batch = {
        str(size): fastest(lambda size=size: counter.count(contents[:size]), repeats) / size  # type: ignore[misc]
        for size in BATCHES
    }
    figures = {
        "rows": ROWS,
        "columns": len(columns),
        "cells": counter.size,
        "bytes_an_hour": counter.size * COUNT_TYPE.itemsize,
        "column_counts_us": round(by_batch["500"], 2),
        "by_batch_us": {size: round(taken, 2) for size, taken in by_batch.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'platform.db'}")
        database.upgrade()
        with database.write() as connection:
            contract = ModelContract(TableInputs(columns), Classification(("no", "yes")), truth="event")
            VersionContracts(_no_registry).pin(connection, contract, "bench", COUNTED, START)
        counters = ColumnCounters()
        taken: dict[str, list[float]] = {"write_us": [], "write_uncounted_us": []}
        for _ in range(max(3, repeats // 20)):  # in turns: a machine is not equally busy all the time
            for name, version in zip(taken, (COUNTED, UNCOUNTED), strict=True):
                taken[name].append(write(database, codec, values, version, counters))
        figures |= {name: round(min(each), 1) for name, each in taken.items()}
        database.close()
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def draw_table(rows: int) -> tuple[tuple[Column, ...], list[list[float | str | None]]]:
    """Columns with their profiles, and the values of each, None where missing."""
    rng = np.random.default_rng(0)
    columns, values = list[Column](), list[list[float | str | None]]()
    for place in range(16):
        numbers = rng.lognormal(0, 1, rows)
        numbers[rng.random(rows) < 0.02] = np.nan
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        columns.append(with_profile(Column(f"number {place}", "number", low=low, high=high), numbers))
        values.append([None if np.isnan(number) else number for number in numbers.tolist()])
    names = np.array([f"category {place}" for place in range(40)], dtype=object)
    for place in range(4):
        drawn = names[np.minimum(len(names) - 1, rng.geometric(0.1, rows) - 1)]
        columns.append(with_profile(Column(f"name {place}", "category", known=tuple(names)), drawn))
        values.append(drawn.tolist())
    return tuple(columns), values


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Microseconds of the fastest of so many runs."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return 1e6 * min(taken)


def write(
    database: Database,
    codec: TableCodec,
    values: Sequence[Sequence[float | str | None]],
    version: int,
    counters: ColumnCounters,
) -> float:
    """Microseconds a row that recording batches of 500 takes; each row is another one each time."""
    shift = time.perf_counter_ns() % 1_000_003
    rows = [[shift + place, *row[1:]] for place, row in enumerate(zip(*values, strict=True))]
    made = []
    for content in codec.rows_of(rows):
        record = PredictionRecord(
            id=uuid7(), at=START, model_name="bench", model_version=version, image_hash=content.content_hash,
            label="no", probabilities=[0.9, 0.1], confidence=0.9, latency_ms=1.0, request_id="", client_id="",
        )  # fmt: skip
        made.append(PredictionWithInput(record, content))
    batches = [made[first : first + 500] for first in range(0, len(made), 500)]
    begun = time.perf_counter()
    for batch in batches:
        with database.write() as connection:
            insert_predictions(connection, batch, "one", counters)
    return 1e6 * (time.perf_counter() - begun) / len(made)


def _no_registry() -> Catalog:
    raise LookupError("this benchmark has no registry")


if __name__ == "__main__":
    main()
