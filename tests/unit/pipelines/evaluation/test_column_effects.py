"""Importance and partial dependence are those of the graph's own columns, within their limits and bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.candidate.plots import importance_plot, interval_plot, partial_dependence_plot
from pipelines.data import Examples
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.evaluation.column_effects import (
    DEPENDENCE_COLUMNS,
    DEPENDENCE_ROWS,
    GRID_VALUES,
    IMPORTANCE_ROWS,
    MAX_COLUMNS,
    REPEATS,
    column_effects,
    partial_dependence,
    permutation_importance,
)
from pipelines.evaluation.table_evaluation import TableEvaluation
from pipelines.input_evaluation import ColumnImportance, PartialDependence
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification

COLUMNS = (
    Column("strong", "number"),
    Column("weak", "number"),
    Column("noise", "number"),
    Column("plan", "category", known=("free", "gold")),
    Column("note", "text"),
)
CONTRACT = ModelContract(TableInputs(COLUMNS), Classification(("no", "yes")), truth="event", block_seconds=86_400)


class KnownEngine(InferenceEngine):
    """yes by 3 * strong + weak, and by 2 for gold; it counts the rows it is asked."""

    name = "onnx"

    def __init__(self, contract: ModelContract = CONTRACT) -> None:
        super().__init__(ClassReader(contract.classes), contract.inputs)
        self.asked = 0

    def validate(self, batch: Batch) -> None:
        assert all(column.name in batch.arrays for column in self.inputs.columns)  # type: ignore[union-attr]

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        self.asked += len(batch)
        score = _score(batch)
        yes = 1 / (1 + np.exp(-score))
        return np.stack([1 - yes, yes], axis=1).astype(np.float32)


FLAG = (Column("flag", "number"),)


class Follower(InferenceEngine):
    """yes where the flag is 1."""

    name = "onnx"

    def __init__(self) -> None:
        super().__init__(ClassReader(CONTRACT.classes), TableInputs(FLAG))
        self.codec = TableCodec(FLAG)

    def validate(self, batch: Batch) -> None:
        del batch

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        yes = batch.array("flag")
        return np.stack([1 - yes, yes], axis=1).astype(np.float32)


def _score(batch: Batch) -> NDArray[np.float64]:
    numbers = {name: np.nan_to_num(batch.array(name)) for name in ("strong", "weak")}
    score: NDArray[np.float64] = 3 * numbers["strong"] + numbers["weak"] + np.where(batch.array("plan") == "gold", 2, 0)
    return score


def rows(count: int, seed: int = 0, *, days: int = 20) -> Examples:
    """Rows whose truth is the sign of the score, a tenth of the time the other one."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {name: rng.normal(0, 1, count) for name in ("strong", "weak", "noise")}
    arrays["plan"] = rng.choice(np.array(["free", "gold", None], dtype=object), count, p=(0.6, 0.3, 0.1))
    arrays["note"] = np.array([f"note {number}" for number in range(count)], dtype=object)
    batch = Batch(arrays)
    truth = (_score(batch) > 0) ^ (rng.random(count) < 0.1)
    times = np.sort(rng.uniform(0, days * 86_400, count))
    keys = tuple(f"{seed}/{number:06d}" for number in range(count))
    return Examples(batch, truth.astype(np.int64), "known", TableCodec(COLUMNS).rows, times=times, keys=keys)


def by_column(found: tuple[ColumnImportance, ...]) -> dict[str, ColumnImportance]:
    return {each.column: each for each in found}


def test_a_column_that_the_graph_does_not_read_adds_nothing_and_the_one_it_relies_on_adds_most() -> None:
    found = permutation_importance(KnownEngine(), rows(2000), COLUMNS, CONTRACT.task)
    known = by_column(found)
    assert found[0].column == "strong"
    for name in ("noise", "note"):
        assert (known[name].added_loss, known[name].low, known[name].high, known[name].changed_share) == (0, 0, 0, 0)
    assert known["strong"].low > known["weak"].high > 0
    assert known["strong"].changed_share > 0.3


def test_a_graph_that_reads_the_columns_in_each_others_place_is_told() -> None:
    class Swapped(KnownEngine):
        def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
            arrays = dict(batch.arrays)
            return super()._predict_chunk(Batch({**arrays, "strong": arrays["noise"], "noise": arrays["strong"]}))

    known = by_column(permutation_importance(Swapped(), rows(2000), COLUMNS, CONTRACT.task))
    assert known["strong"].added_loss == 0
    assert known["noise"].changed_share > 0.3
    slope = partial_dependence(Swapped(), rows(200).batch, rows(500).batch, COLUMNS[0]).probabilities[:, 1]
    assert np.ptp(slope) == 0


def test_what_a_mistake_costs_counts() -> None:
    dear = Classification(("no", "yes"), costs={("yes", "no"): 10.0, ("no", "yes"): 1.0})
    plain = by_column(permutation_importance(KnownEngine(), rows(1000), COLUMNS, CONTRACT.task))
    costly = by_column(permutation_importance(KnownEngine(), rows(1000), COLUMNS, dear))
    assert 0 < costly["strong"].added_loss < plain["strong"].added_loss
    assert costly["strong"].changed_share == plain["strong"].changed_share


def test_the_same_rows_give_the_same_report_and_limits_cover_what_more_rows_say() -> None:
    engine = KnownEngine()
    first = permutation_importance(engine, rows(500, 1), COLUMNS, CONTRACT.task)
    assert first == permutation_importance(engine, rows(500, 1), COLUMNS, CONTRACT.task)
    truth = by_column(permutation_importance(engine, rows(60_000, 2), COLUMNS, CONTRACT.task))
    for seed in range(3, 23):
        for each in permutation_importance(engine, rows(500, seed), COLUMNS, CONTRACT.task):
            assert each.low <= truth[each.column].added_loss <= each.high


def test_rows_of_one_day_are_one_observation() -> None:
    few = rows(1000, 4, days=1)
    engine = KnownEngine()
    by_day = column_effects(engine, few, COLUMNS, CONTRACT)
    assert by_day is not None
    assert by_day.blocks == 1
    assert {(each.low, each.high) for each in by_day.importance} == {(-1.0, 1.0)}, "one day proves nothing"
    singly = column_effects(engine, few, COLUMNS, replace(CONTRACT, block_seconds=None))
    assert singly is not None
    assert singly.blocks is None
    assert by_column(singly.importance)["strong"].low > 0


@pytest.mark.parametrize(("share", "days"), [(0.02, None), (0.1, None), (0.2, 40)])
def test_limits_cover_the_importance_among_all_rows_though_donors_are_few(share: float, days: int | None) -> None:
    """A column of two values, where days are given the same within a day, which the answers and the truth follow."""
    engine, importance, runs, held = Follower(), 2 * share * (1 - share), 300, 0
    for seed in range(runs):
        ones = np.random.default_rng(seed).random(days or 1000) < share
        values = np.repeat(ones, 1000 // len(ones))
        some = Examples(Batch({"flag": values.astype(float)}), values.astype(np.int64), "known", engine.codec.rows)
        blocks = None if days is None else np.repeat(np.arange(days), 1000 // days)
        [found] = permutation_importance(engine, some, FLAG, CONTRACT.task, blocks, seed)
        held += found.low <= importance <= found.high
    assert held >= 0.91 * runs


def test_values_dealt_within_a_block_are_no_evidence() -> None:
    values = np.repeat([0.0, 1.0], 500)
    some = Examples(Batch({"flag": values}), values.astype(np.int64), "known", TableCodec(FLAG).rows)
    [found] = permutation_importance(Follower(), some, FLAG, CONTRACT.task, values.astype(np.int64))
    assert (found.added_loss, found.changed_share) == (1.0, 1.0)


def test_partial_dependence_follows_the_values_and_tells_the_missing_one() -> None:
    sample = rows(400)
    strong = partial_dependence(KnownEngine(), sample.batch, sample.batch, COLUMNS[0])
    assert strong.positions is not None
    assert len(strong.values) == len(strong.positions) == GRID_VALUES
    assert strong.positions == tuple(sorted(strong.positions))
    assert (np.diff(strong.probabilities[:, 1]) > 0).all()
    assert np.allclose(strong.probabilities.sum(axis=1), 1, atol=1e-6)
    plan = partial_dependence(KnownEngine(), sample.batch, sample.batch, COLUMNS[3])
    assert (plan.values, plan.positions) == (("free", "gold", "missing"), None)
    free, gold, missing = plan.probabilities[:, 1]
    assert free == missing < gold
    arrays = {**sample.batch.arrays, "plan": np.array(["gold"] * 400, dtype=object)}
    assert gold == pytest.approx(KnownEngine()(Batch(arrays))[:, 1].mean(), abs=1e-6)


def test_the_work_is_bounded_for_many_rows_and_columns() -> None:
    wide = tuple(Column(f"c{number}", "number") for number in range(300))
    contract = replace(CONTRACT, inputs=TableInputs((*COLUMNS, *wide)))
    made = rows(3000)
    arrays = {**made.batch.arrays, **{column.name: made.batch.array("noise") for column in wide}}
    engine = KnownEngine(contract)
    found = TableEvaluation((*COLUMNS, *wide)).column_effects(engine, replace(made, batch=Batch(arrays)), contract)
    assert found is not None
    assert (len(found.importance), found.rows, found.repeats) == (MAX_COLUMNS, IMPORTANCE_ROWS, REPEATS)
    assert len(found.dependence) == DEPENDENCE_COLUMNS
    most = IMPORTANCE_ROWS * (MAX_COLUMNS * REPEATS + 1) + DEPENDENCE_COLUMNS * (GRID_VALUES + 1) * DEPENDENCE_ROWS
    assert engine.asked <= most


def test_robustness_counts_what_changes_and_leaves_out_what_cannot_be() -> None:
    required = (replace(COLUMNS[0], optional=False), *COLUMNS[1:])
    scores = {score.kind: score for score in TableEvaluation(required).robustness(KnownEngine(), rows(1500))}
    assert "without strong" not in scores, "a request without it is refused"
    assert scores["without noise"].changed == 0
    assert scores["without plan"].changed == scores["unseen plan"].changed
    assert scores["without plan"].changed is not None
    assert 0 < scores["without plan"].changed < 1000
    assert scores["without plan"].accuracy < scores["without noise"].accuracy


def test_names_with_signs_of_formulas_are_drawn() -> None:
    odd = r"$\frac{a price in $"
    assert importance_plot([ColumnImportance(odd, 0.1, 0.0, 0.2, 0.1)]).startswith(b"\x89PNG")
    shares = np.array([[0.4, 0.6], [0.3, 0.7]])
    known = [PartialDependence(odd, (odd, "missing"), None, shares), PartialDependence("n", ("1", "2"), (1, 2), shares)]
    assert partial_dependence_plot(known, (odd, "yes")).startswith(b"\x89PNG")
    assert interval_plot([(odd, 0.5, 0.4, 0.6)], odd, None).startswith(b"\x89PNG")
