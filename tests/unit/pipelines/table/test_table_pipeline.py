"""A pipeline is made of a file of a few lines: the example works as printed, and mistakes in one are named."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlplatform.pipeline import Classification, Column, TrainingContext, table
from pipelines.engines.graph_check import check_table_graph
from pipelines.errors import DataError, TrainingError, TrainingStopped, UnknownPipelineError
from pipelines.exports.export_model import graph_probabilities
from pipelines.pipeline import CARD_KEYS
from pipelines.table.table_data import labelled_rows
from pipelines.table.table_pipeline import NOT_STATED, TablePipeline
from pipelines.table.table_training import TableTraining, fit_table
from registry.model_contract import TableInputs

EXAMPLE = Path(__file__).parents[4] / "examples" / "churn"


def _module(name: str) -> Iterator[ModuleType]:
    spec = spec_from_file_location(f"example_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def churn() -> Iterator[ModuleType]:
    yield from _module("churn")


@pytest.fixture(scope="module")
def customers() -> Iterator[ModuleType]:
    yield from _module("make_customers")


@pytest.fixture(scope="module")
def folder(customers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("customers")
    rows = customers.make_customers(3000, customers.FIRST_DAY, customers.CHANGE_DAY - pd.Timedelta(days=1))
    rows.to_parquet(made / "customers.parquet", index=False)
    return made


def _training(pipeline: TablePipeline, folder: Path | None) -> TableTraining:
    contract, split = (made := pipeline.read(folder)).contract, made.split
    return TableTraining(contract, split.train, np.ones(len(split.train), np.float32), split.validation, 0, folder)


def test_the_example_is_read_trained_and_exported(churn: ModuleType, folder: Path) -> None:
    contract, split = (made := churn.PIPELINE.read(folder)).contract, made.split
    assert isinstance(contract.inputs, TableInputs)
    assert [(column.name, column.kind) for column in contract.inputs.columns] == [
        ("age", "whole"),
        ("income", "number"),
        ("balance", "number"),
        ("plan", "category"),
        ("region", "category"),
    ]
    assert (contract.truth, contract.block_seconds, contract.classes) == ("event", 86_400, ("no", "yes"))
    assert (len(split.train), len(split.validation), len(split.golden)) == (2100, 287, 613)  # cut between days
    exported = fit_table(churn.train, _training(churn.PIPELINE, folder))
    check_table_graph(exported.content, contract)
    assert exported.fidelity.different_answers == 0
    answers = graph_probabilities(exported.content, contract, split.golden.batch).argmax(axis=1)
    assert (answers == split.golden.labels).mean() > 0.8


def test_the_customers_are_the_same_each_time_and_change_after_a_day(
    churn: ModuleType, customers: ModuleType, folder: Path
) -> None:
    late = customers.make_customers(1500, customers.CHANGE_DAY, customers.LAST_DAY)
    pd.testing.assert_frame_equal(late, customers.make_customers(1500, customers.CHANGE_DAY, customers.LAST_DAY))
    training = _training(churn.PIPELINE, folder)
    exported = fit_table(churn.train, training)
    columns = training.contract.inputs.columns  # type: ignore[union-attr]
    rows = labelled_rows(late, columns, churn.PIPELINE.roles, training.contract.classes, "late")
    answers = graph_probabilities(exported.content, training.contract, rows.batch).argmax(axis=1)
    assert (answers != rows.labels).mean() > 0.25


def _made(**changes: Any) -> TablePipeline:  # noqa: ANN401 - any argument of table()
    def rows(_folder: Path | None) -> pd.DataFrame:
        number = np.arange(300, dtype=np.float64) + 0.1
        return pd.DataFrame({"a": number, "b": ["x", None, "y"] * 100, "t": np.where(number % 2 > 1, "yes", "no")})

    given: dict[str, Any] = {
        "name": "made",
        "columns": ["a", "b"],
        "target": "t",
        "task": Classification(("no", "yes")),
        "rows": rows,
        "train": lambda _context: None,
        "about": "A test.",
    }
    return table(**{**given, **changes})


def test_train_gets_rows_as_they_are_fed_and_reports(tmp_path: Path) -> None:
    logged: list[tuple[Mapping[str, float], int]] = []
    seen: list[TrainingContext] = []

    def train(context: TrainingContext) -> None:
        seen.append(context)
        context.log({"loss": 0.5}, 3)
        context.check()
        raise RuntimeError("no luck")

    training = replace(_training(_made(), tmp_path), on_metrics=lambda metrics, step: logged.append((metrics, step)))
    with pytest.raises(TrainingError, match=r"train.. of the pipeline raised RuntimeError: no luck"):
        fit_table(train, training)
    [context] = seen
    assert logged == [({"loss": 0.5}, 3)]
    assert list(context.x.columns) == ["a", "b"]
    assert context.x["a"].dtype == np.float64
    assert (context.x["a"] == context.x["a"].astype(np.float32)).all()
    assert set(context.x["b"]) == {"x", "y", ""}
    assert set(context.y) == {"no", "yes"}
    assert [context.classes[code] for code in context.codes] == list(context.y)
    assert len(context.validation_x) == len(context.validation_y) > 0
    assert (context.seed, context.folder) == (0, tmp_path)
    assert not context.scratch.exists()


def test_a_cancelled_training_stops_and_a_model_that_is_none_is_named() -> None:
    training = _training(_made(), None)
    with pytest.raises(TrainingStopped, match="was cancelled"):
        fit_table(lambda context: context.check(), replace(training, should_stop=lambda: True))
    with pytest.raises(DataError, match="gave back None, which is no model"):
        fit_table(lambda _context: None, training)


def test_texts_of_the_card_that_nobody_wrote_are_marked() -> None:
    made = _made(card={"ethics": "Decides about calls alone."})
    assert set(made.card) == set(CARD_KEYS)
    assert made.card["intended_use"] == "A test."
    assert made.card["ethics"] == "Decides about calls alone."
    assert made.card["caveats"] == NOT_STATED


def test_a_column_of_the_owners_own_is_kept() -> None:
    contract = _made(columns=[Column("a", "number", low=0.0, high=1.0), "b"]).read(None).contract
    assert contract.inputs.columns[0].high == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"columns": ["a", "t"]}, DataError, "made: the target 't' is among the columns"),
        ({"group": "b"}, DataError, "made: the group 'b' is among the columns"),
        ({"columns": []}, DataError, "made: columns is empty"),
        ({"card": {"moral": "x"}}, UnknownPipelineError, "made: card has no text 'moral'; known: intended_use"),
    ],
)
def test_a_mistake_in_the_definition_is_named(changes: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        _made(**changes)


def test_rows_that_are_no_frame_are_refused() -> None:
    with pytest.raises(DataError, match=r"rows.. of made gave back a list; give back a pandas DataFrame"):
        _made(rows=lambda _folder: []).read(None)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (None, r"line \d+: TypeError: .*; PLATFORM_DATA_DIR is not set, so its folder is None: set it"),
        (Path("/no/such"), r"line \d+: FileNotFoundError: .*; its folder \(PLATFORM_DATA_DIR\) is /no/such"),
    ],
)
def test_rows_that_cannot_be_read_name_the_line_and_the_folder(
    churn: ModuleType, folder: Path | None, expected: str
) -> None:
    with pytest.raises(DataError, match=rf"rows\(\) of churn failed at churn.py, {expected}"):
        churn.PIPELINE.read(folder)


def test_what_rows_says_of_its_data_is_told_as_it_says_it(churn: ModuleType) -> None:
    def rows(folder: Path | None) -> pd.DataFrame:
        raise DataError("the ledger of May is not closed")

    with pytest.raises(DataError, match=r"^the ledger of May is not closed$"):
        replace(churn.PIPELINE, rows=rows).read(None)


def test_rows_are_parted_by_sensitive_columns_that_the_model_need_not_read(churn: ModuleType, folder: Path) -> None:
    frame = churn.rows(folder)
    frame["sex"] = np.where(frame["age"] % 2 == 0, "f", "m")
    watched = replace(churn.PIPELINE, rows=lambda _folder: frame, sensitive_columns=("sex", "region"))
    pipeline = watched.with_rows(None)
    golden = pipeline.load(None).golden
    groups = pipeline.sensitive_groups(golden)
    assert set(groups) == {"sex", "region"}
    assert list(groups["region"]) == ["missing" if each is None else each for each in golden.batch.array("region")]
    even = golden.batch.array("age") % 2 == 0
    assert list(groups["sex"]) == np.where(even, "f", "m").tolist()
    with pytest.raises(DataError, match="the rows have no column 'gender'"):
        replace(watched, sensitive_columns=("gender",)).read(None)


def test_an_owner_says_what_a_first_version_must_reach() -> None:
    golden = _made().with_rows(None).load(None).golden
    commonest = np.bincount(golden.labels).max() / len(golden)
    assert _made().with_rows(None).first_version_floor(golden) == pytest.approx(commonest)
    assert _made(first_accuracy=0.4).with_rows(None).first_version_floor(golden) == 0.4
