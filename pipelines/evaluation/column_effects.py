"""Measures what the columns of a table do to a model's answers: permutation importance and partial dependence.

Importance (Breiman 2001; Fisher, Rudin and Dominici 2019): the values of one column are dealt to other rows, and the
mean loss rises by as much as the model relied on them. Partial dependence (Friedman 2001): one value is written into
all rows, and the mean probability of each class is read off. Both ask the exported graph, which is what a server
answers with. At most MAX_COLUMNS * REPEATS * IMPORTANCE_ROWS rows are answered for the one, and DEPENDENCE_COLUMNS *
(GRID_VALUES + 1) * DEPENDENCE_ROWS for the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipelines.batch import Batch
from pipelines.data import Examples, rows_by_hash
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.input_evaluation import ColumnEffects, ColumnImportance, PartialDependence
from registry.model_contract import NAMED_KINDS, Column, ModelContract
from registry.prediction_task import Task

MAX_COLUMNS: Final = 100
"""So many columns are examined, the first ones: a report of thousands would be read by nobody."""
IMPORTANCE_ROWS: Final = 1000
REPEATS: Final = 5
DEPENDENCE_COLUMNS: Final = 20
"""Partial dependence is computed of so many columns, those that matter most."""
DEPENDENCE_ROWS: Final = 200
GRID_VALUES: Final = 10
ALPHA: Final = 0.05
MISSING: Final = "missing"


def column_effects(
    engine: InferenceEngine, golden: Examples, columns: Sequence[Column], contract: ModelContract, seed: int = 0
) -> ColumnEffects | None:
    """Importance of each column and partial dependence of the most important ones; None without golden rows."""
    if not len(golden):
        return None
    some = rows_by_hash(golden, IMPORTANCE_ROWS)
    blocks = _time_blocks(some, contract.block_seconds)
    importance = permutation_importance(engine, some, columns[:MAX_COLUMNS], contract.task, blocks, seed)
    by_name = {column.name: column for column in columns}
    few = rows_by_hash(golden, DEPENDENCE_ROWS).batch
    named = [by_name[each.column] for each in importance if by_name[each.column].kind != "text"]
    dependence = [partial_dependence(engine, few, some.batch, column) for column in named[:DEPENDENCE_COLUMNS]]
    return ColumnEffects(
        importance,
        tuple(each for each in dependence if len(each.values) > 1),
        len(some),
        REPEATS,
        None if blocks is None else len(np.unique(blocks)),
    )


def permutation_importance(
    engine: InferenceEngine,
    rows: Examples,
    columns: Sequence[Column],
    task: Task,
    blocks: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> tuple[ColumnImportance, ...]:
    """By how much the mean loss rises when a column's values are dealt to other rows, the largest rise first.

    `blocks` says which rows go wrong together, (n,); values count where they come from another block. Limits hold for
    all columns together (Bonferroni).
    """
    losses = _loss_table(engine.classes, task)
    answers = engine(rows.batch).argmax(axis=1)
    usual = losses[rows.labels, answers]
    places = np.arange(len(rows)) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    generator = np.random.default_rng(seed)
    found = []
    for column in columns:
        values = rows.batch.array(column.name)
        orders = np.array([generator.permutation(len(rows)) for _ in range(REPEATS)])
        other = np.array([engine(with_values(rows.batch, column, values[order])).argmax(axis=1) for order in orders])
        rises = losses[rows.labels, other] - usual
        apart = places[orders] != places
        counted = apart if apart.any() else np.ones_like(apart)
        low, high = _pair_limits(rises, places, places[orders], ALPHA / len(columns))
        changed = float((other != answers)[counted].mean())
        found.append(ColumnImportance(column.name, float(rises[counted].mean()), low, high, changed))
    return tuple(sorted(found, key=lambda each: (-each.added_loss, -each.changed_share)))


def partial_dependence(engine: InferenceEngine, rows: Batch, seen: Batch, column: Column) -> PartialDependence:
    """The mean probabilities over the rows with each of a few values of the column, as `seen` rows have them."""
    values, positions = _grid(seen.array(column.name), column)
    means = [
        engine(with_values(rows, column, _repeated(column, value, len(rows)))).mean(axis=0, dtype=np.float64)
        for value in values
    ]
    probabilities = np.array(means, dtype=np.float64).reshape(len(values), len(engine.classes))
    names = tuple(value_text(column, value) for value in values)
    return PartialDependence(column.name, names, positions, probabilities)


def with_values(batch: Batch, column: Column, values: NDArray[Any]) -> Batch:
    """The same rows with other values in one column."""
    return Batch({**batch.arrays, column.name: values})


def with_one_value(batch: Batch, column: Column, value: float | str | None) -> Batch:
    """The same rows with one value, or none, all down a column."""
    return with_values(batch, column, _repeated(column, value, len(batch)))


def value_text(column: Column, value: float | str | None) -> str:
    """A value of a column as people read it."""
    if value is None or isinstance(value, str):
        return MISSING if value is None else value
    if column.kind == "yes-no":
        return "yes" if value else "no"
    if column.kind == "time":
        try:
            return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M}"
        except (OverflowError, OSError, ValueError):  # of a year that no calendar here has
            pass
    return f"{value:.6g}"


def _repeated(column: Column, value: float | str | None, count: int) -> NDArray[Any]:
    if column.kind in NAMED_KINDS:
        values = np.empty(count, dtype=object)
        values[:] = value
        return values
    return np.full(count, np.nan if value is None else value, dtype=np.float64)


def _grid(values: NDArray[Any], column: Column) -> tuple[list[float | str | None], tuple[float, ...] | None]:
    """A few values that the rows have, a missing one last where some rows have none; numbers with their places."""
    if column.kind == "category":
        counts = Counter(value for value in values.tolist() if value not in (None, ""))
        names: list[float | str | None] = sorted(counts, key=lambda name: (-counts[name], name))[:GRID_VALUES]
        return ([*names, None] if sum(counts.values()) < len(values) and column.optional else names), None
    present = np.sort(values[~np.isnan(values)])
    if not len(present):
        return [], None
    distinct = np.unique(present)
    if len(distinct) > GRID_VALUES:
        distinct = np.unique(present[np.linspace(0, len(present) - 1, GRID_VALUES).round().astype(np.int64)])
    points: list[float | str | None] = [float(value) for value in distinct]
    places = tuple(float(value) for value in distinct)
    return ([*points, None] if len(present) < len(values) and column.optional else points), places


def _loss_table(classes: Sequence[str], task: Task) -> NDArray[np.float64]:
    """The loss of each truth (rows) and answer (columns)."""
    return np.array([[task.loss(truth, answer) for answer in classes] for truth in classes], dtype=np.float64)


def _time_blocks(rows: Examples, seconds: int | None) -> NDArray[np.int64] | None:
    if seconds is None or rows.times is None:
        return None
    return np.floor(rows.times / seconds).astype(np.int64)


def _pair_limits(
    rises: NDArray[np.float64], receivers: NDArray[np.int64], donors: NDArray[np.int64], alpha: float
) -> tuple[float, float]:
    """Limits of the mean of values from -1 to 1 (repeats, n), each of a pair of blocks (n,) and (repeats, n).

    A block moves the mean as receiver and as donor of values, so its influence is the sum of both (Hoeffding 1948; the
    infinitesimal jackknife of a U-statistic), and blocks vary by Student's t. Pairs within a block are left out.
    """
    apart, blocks = donors != receivers, int(receivers.max()) + 1
    pairs = int(apart.sum())
    if not pairs:
        return -1.0, 1.0
    mean = float(rises[apart].mean())
    deviations = rises[apart] - mean
    sides = np.concatenate([np.broadcast_to(receivers, donors.shape)[apart], donors[apart]])
    influence = np.bincount(sides, weights=np.tile(deviations, 2), minlength=blocks) / pairs
    variance = blocks / (blocks - 1) * float(influence @ influence)
    reach = float(stats.t.ppf(1 - alpha / 2, blocks - 1)) * math.sqrt(variance)
    return max(-1.0, mean - reach), min(1.0, mean + reach)
