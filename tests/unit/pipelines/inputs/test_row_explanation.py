"""What each column of a row does to its answer, beside the usual value that the version noted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import DataError
from pipelines.inputs.column_counter import with_profile
from pipelines.inputs.row_explanation import (
    COLUMNS_AT_ONCE,
    MAX_TEXT_BYTES,
    TEXT_BYTES_AT_ONCE,
    explain_row,
    usual_value,
)
from registry.model_contract import Column, TableInputs

PLANS = np.array(["free"] * 30 + ["gold"] * 60 + [None] * 10, dtype=object)
COLUMNS = (
    with_profile(Column("age", "whole", low=18, high=90), np.arange(1000.0) % 73 + 18),
    with_profile(Column("balance", "number", low=-10, high=10), np.linspace(-10, 10, 1000)),
    with_profile(Column("member", "yes-no"), np.array([1.0] * 70 + [0.0] * 30)),
    with_profile(Column("plan", "category", known=("free", "gold", "rare")), PLANS),
    with_profile(Column("note", "text"), np.array(["x"] * 100, dtype=object)),
    with_profile(Column("since", "time"), np.arange(100.0)),
)
ROW = {"age": 40.0, "balance": 4.0, "member": 0.0, "plan": "free", "note": "hm", "since": 5.0}


class Linear(InferenceEngine):
    """yes by balance / 4 + 1 for gold, in logits; with `strict`, a missing time has no probabilities."""

    name = "onnx"

    def __init__(self, columns: tuple[Column, ...] = COLUMNS, *, strict: bool = False) -> None:
        super().__init__(ClassReader(("no", "yes")), TableInputs(columns))
        self.strict, self.asked = strict, list[int]()

    def validate(self, batch: Batch) -> None:
        del batch

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        self.asked.append(len(batch))
        if self.strict and np.isnan(batch.array("since")).any():
            raise DataError("the model gives no probabilities for these values")
        score = batch.array("balance") / 4 + (batch.array("plan") == "gold")
        yes = 1 / (1 + np.exp(-score))
        return np.stack([1 - yes, yes], axis=1).astype(np.float32)


def batch(values: dict[str, Any]) -> Batch:
    named = ("plan", "note")
    return Batch({name: np.array([value], dtype=object if name in named else float) for name, value in values.items()})


def test_usual_values_are_medians_and_the_commonest_category() -> None:
    age, balance, member, plan, note, since = (usual_value(column) for column in COLUMNS)
    assert age == math.floor(age) == pytest.approx(54, abs=3)  # type: ignore[arg-type]
    assert balance == pytest.approx(0, abs=0.7)
    assert (member, plan, note, since) == (1.0, "gold", None, None)
    assert usual_value(Column("age", "whole")) is None
    spiked = with_profile(Column("n", "number", low=0, high=100), np.array([7.0] * 800 + list(range(100))))
    assert usual_value(spiked) == 7.0
    skewed = np.random.default_rng(0).lognormal(0, 2, 10_000)
    about = usual_value(with_profile(Column("n", "number"), skewed))
    assert isinstance(about, float)
    assert float((skewed < about).mean()) == pytest.approx(0.5, abs=1 / 32)
    empty = with_profile(Column("n", "number"), np.full(50, np.nan))
    assert usual_value(empty) is None
    open_ended = with_profile(Column("n", "number"), np.linspace(0, 1, 4))
    assert usual_value(open_ended) is None


def test_each_column_is_told_with_its_own_effect_the_largest_first() -> None:
    found = explain_row(Linear(), batch(ROW), COLUMNS)
    effects = {each.column: each.effect for each in found.columns}
    middle = usual_value(COLUMNS[1])
    assert isinstance(middle, float)

    def yes(score: float) -> float:
        return 1 / (1 + math.exp(-score))

    assert (found.index, found.answer) == (1, 1)
    assert found.probability == pytest.approx(yes(1.0), abs=1e-6)
    assert effects["balance"] == pytest.approx(yes(1.0) - yes(middle / 4), abs=1e-6)
    assert effects["plan"] == pytest.approx(yes(1.0) - yes(2.0), abs=1e-6)
    assert {effects[name] for name in ("age", "member", "note", "since")} == {0.0}
    assert [each.column for each in found.columns][:2] == ["balance", "plan"]
    assert next(each for each in found.columns if each.column == "plan").usual == "gold"


def test_another_class_is_explained_with_the_opposite_effects_and_says_what_would_be_answered() -> None:
    row = batch({**ROW, "balance": 9.0, "plan": "free"})
    own, other = explain_row(Linear(), row, COLUMNS), explain_row(Linear(), row, COLUMNS, 0)
    assert (other.index, other.answer) == (0, 1)
    for mine, theirs in zip(own.columns, other.columns, strict=True):
        assert mine.effect == pytest.approx(-theirs.effect, abs=1e-6)
    low = usual_value(COLUMNS[1])
    assert isinstance(low, float)
    [balance] = [each for each in own.columns if each.column == "balance"]
    assert balance.answer == (1 if low > 0 else 0)


def test_a_column_that_the_model_cannot_do_without_is_left_out_and_the_others_are_told() -> None:
    found = explain_row(Linear(strict=True), batch(ROW), COLUMNS)
    assert {each.column for each in found.columns} == {column.name for column in COLUMNS} - {"since"}
    assert found.columns[0].column == "balance"
    with pytest.raises(DataError, match="no probabilities"):
        explain_row(Linear(strict=True), batch({**ROW, "since": np.nan}), COLUMNS)


def test_a_wide_row_is_asked_in_parts() -> None:
    wide = (*COLUMNS, *(replace(Column("x", "number"), name=f"x{number}") for number in range(600)))
    engine = Linear(wide)
    row = batch({**ROW, **{f"x{number}": 1.0 for number in range(600)}})
    assert len(explain_row(engine, row, wide).columns) == 606
    assert max(engine.asked) <= COLUMNS_AT_ONCE
    assert sum(engine.asked) == 607


@pytest.mark.parametrize("text", ["x" * MAX_TEXT_BYTES, "\u20ac" * (MAX_TEXT_BYTES // 3)])
def test_a_row_of_long_texts_is_not_copied_for_all_columns_at_once(text: str) -> None:
    wide = (*COLUMNS, *(Column(f"x{number}", "number") for number in range(300)))
    values = {**ROW, **{f"x{number}": 1.0 for number in range(300)}, "plan": None, "note": text}
    engine = Linear(wide)
    assert len(explain_row(engine, batch(values), wide).columns) == 306
    assert sum(engine.asked) == 307
    assert 1 < max(engine.asked) <= TEXT_BYTES_AT_ONCE / len(text.encode())


def test_a_row_of_longer_texts_is_refused_before_it_is_asked() -> None:
    engine = Linear()
    with pytest.raises(DataError, match=f"texts of this row have {MAX_TEXT_BYTES + 1} bytes"):
        explain_row(engine, batch({**ROW, "plan": "free", "note": "x" * (MAX_TEXT_BYTES - 3)}), COLUMNS)
    assert engine.asked == []
