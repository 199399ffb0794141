"""What a stored model reads and answers is found in it, and told as data; what does not fit is named."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression
from skops.io import dump

from pipelines.engines.graph_check import MAX_BYTES
from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.errors import DataError, ModelFormatError
from pipelines.table.adopted_columns import adopted_columns
from pipelines.table.export_process import export_stored, main
from pipelines.table.export_request import (
    GRAPH_FILE,
    RESULT_FILE,
    ROWS_FILE,
    ExportRequest,
    ExportResult,
    read_graph,
)
from registry.model_contract import ModelContract, TableInputs
from registry.prediction_task import Classification
from tests.support.stored_models import NAMES, NUMBERS, customer_frame, fitted_pipeline

FRAME = customer_frame(300)
CODES = (FRAME["churned"] == "yes").astype(int)


def request_for(path: Path, stored: str) -> ExportRequest:
    offered = tuple(NUMBERS + NAMES)
    return ExportRequest(str(path), stored, False, None, (), offered, {}, ("no", "yes"))


@pytest.fixture
def skops_file(tmp_path: Path) -> Path:
    dump(fitted_pipeline(FRAME), tmp_path / "model.skops")
    return tmp_path / "model.skops"


def test_a_pipeline_says_its_columns_and_classes_itself(skops_file: Path) -> None:
    content, result = export_stored(request_for(skops_file, "skops"), FRAME)
    assert (result.columns, result.classes) == (("age", "income", "plan"), ("no", "yes"))
    assert (result.rows, result.different_answers) == (300, 0)
    assert result.largest_difference < 1e-5, "missing texts, which it learnt as None, are the empty text of the graph"
    columns = adopted_columns(FRAME, result.columns, {})
    contract = ModelContract(TableInputs(columns), Classification(result.classes), truth="event")
    assert table_engine_from_bytes(content, contract, threads=1).classes == ("no", "yes")


def test_a_booster_of_numbers_needs_the_names_of_its_classes(tmp_path: Path) -> None:
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(FRAME[NUMBERS], CODES), 5)
    booster.save_model(tmp_path / "model.lgb")
    asked = request_for(tmp_path / "model.lgb", "lightgbm")
    with pytest.raises(DataError, match=r"class 'no', and the model answers 0, 1; .*--classes no,yes"):
        export_stored(asked, FRAME)
    _, result = export_stored(replace(asked, classes=("no", "yes")), FRAME)
    assert (result.columns, result.classes) == (("age", "income"), ("no", "yes"))


@pytest.mark.parametrize("classifier", [False, True])
def test_files_of_xgboost_are_opened_as_what_they_hold(tmp_path: Path, classifier: bool) -> None:
    fitted = xgboost.XGBClassifier(n_estimators=5).fit(FRAME[NUMBERS], CODES)
    (fitted if classifier else fitted.get_booster()).save_model(tmp_path / "model.ubj")
    asked = replace(request_for(tmp_path / "model.ubj", "xgboost"), classes=("no", "yes"), classifier=classifier)
    _, result = export_stored(asked, FRAME)
    assert result.model == ("XGBClassifier" if classifier else "Booster")


def test_a_model_that_names_no_columns_takes_as_many_as_are_offered(tmp_path: Path) -> None:
    fitted = LogisticRegression().fit(FRAME[["age"]].to_numpy(), FRAME["churned"])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    asked = request_for(tmp_path / "model.pkl", "pickle")
    with pytest.raises(DataError, match=r"reads 1 columns without naming them, .* have 3 that may be meant"):
        export_stored(asked, FRAME)
    assert export_stored(replace(asked, columns=("age",)), FRAME)[1].columns == ("age",)


def test_a_skops_file_that_asks_for_other_types_is_refused(tmp_path: Path) -> None:
    dump({"model": Path}, tmp_path / "model.skops")
    with pytest.raises(ModelFormatError, match=r"asks for the type pathlib\.\w+, .*--run-its-code"):
        export_stored(request_for(tmp_path / "model.skops", "skops"), FRAME)


def test_a_file_that_cannot_be_opened_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"cno_such_module\nThing\n.")
    with pytest.raises(ModelFormatError, match=r"needs the module 'no_such_module'.*pip install no_such_module"):
        export_stored(request_for(tmp_path / "model.pkl", "pickle"), FRAME)
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04 damaged")
    with pytest.raises(ModelFormatError, match=r"model\.pkl cannot be opened"):
        export_stored(request_for(tmp_path / "model.pkl", "pickle"), FRAME)


def test_the_process_leaves_graph_and_result_or_the_reason(tmp_path: Path, skops_file: Path) -> None:
    FRAME.to_parquet(tmp_path / ROWS_FILE)
    asked = request_for(skops_file, "skops")
    asked.write(tmp_path)
    main(tmp_path)
    assert ExportResult.read(tmp_path).columns == ("age", "income", "plan")
    assert (tmp_path / GRAPH_FILE).stat().st_size > 100
    replace(asked, columns=("age", "height")).write(tmp_path)
    main(tmp_path)
    with pytest.raises(DataError, match="no column 'height', which the model reads; they have 'customer'"):
        ExportResult.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"columns": 1}', "[" * 100_000, '{"rows": "x"}'])
def test_a_result_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULT_FILE).write_text(text)
    with pytest.raises(ModelFormatError, match="left no result that can be read"):
        ExportResult.read(tmp_path)


def test_a_result_is_cut_to_what_people_can_read(tmp_path: Path) -> None:
    ExportResult(("a" * 1000,), ("b",), (), "m" * 1000, 1, 0, 0.0).write(tmp_path)
    read = ExportResult.read(tmp_path)
    assert (len(read.columns[0]), len(read.model)) == (300, 200)
    values = json.loads((tmp_path / RESULT_FILE).read_text())
    (tmp_path / RESULT_FILE).write_text(json.dumps({**values, "model": "x" * 5_000_000}))
    with pytest.raises(ModelFormatError, match="too large"):
        ExportResult.read(tmp_path)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"{}")
    path.symlink_to("elsewhere")


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


@pytest.mark.parametrize("leave", [_pipe, _link, _endless, _folder, _large])
def test_what_is_left_in_place_of_a_file_is_refused_unread(tmp_path: Path, leave: Callable[[Path], None]) -> None:
    for name in (RESULT_FILE, GRAPH_FILE):
        leave(tmp_path / name)
    with pytest.raises(ModelFormatError, match="left no result that can be read"):
        ExportResult.read(tmp_path)
    with pytest.raises(ModelFormatError, match=r"left no graph that can be read.*at most 256 MiB"):
        read_graph(tmp_path)


def test_many_texts_are_no_categories() -> None:
    frame = pd.DataFrame({"note": [f"text {number}" for number in range(1200)], "plan": np.repeat(["a", "b"], 600)})
    assert [column.kind for column in adopted_columns(frame, ["note", "plan"], {"note": "category"})] == [
        "text",
        "category",
    ]
