"""Rows of a table are fed column by column, and what does not fit is refused."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.engines.inference_engine import CHUNK_ROWS, EngineConfig
from pipelines.engines.latency import measure_latency, random_rows
from pipelines.engines.table_engine import load_table_engine, table_engine_from_bytes
from pipelines.errors import DataError, ModelFormatError
from pipelines.inputs.table_codec import TableCodec
from pipelines.loading import load_engine
from registry.model_contract import TextInputs, image_classifier
from registry.model_package import ONNX_FILE
from tests.support.table_model import COLUMNS, CONTRACT, NUMBERS, graph

CODEC = TableCodec(COLUMNS)


def rows(ages: list[float], plans: list[str | None]) -> Batch:
    blank = CODEC.blank(len(ages)).arrays
    return Batch({**blank, "age": np.array(ages), "plan": np.array(plans, dtype=object)})


def test_columns_are_fed_by_name_and_a_missing_number_as_none() -> None:
    engine = table_engine_from_bytes(graph(), CONTRACT, threads=1)
    answered = engine(rows([0.0, 10.0, np.nan, 0.0], [None, None, None, "gold"]))
    one = 1 / (1 + np.exp(-2.0))
    assert np.allclose(answered[:, 0], [0.5, one, 0.5, 0.5], atol=1e-6)
    assert engine.classes == ("no", "yes")


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS + 3])
def test_any_number_of_rows_is_answered(count: int) -> None:
    engine = table_engine_from_bytes(graph(), CONTRACT, threads=1)
    answered = engine(random_rows(CONTRACT.inputs, count, seed=1))
    assert answered.shape == (count, 2)
    assert np.allclose(answered.sum(axis=1), 1)


def test_what_float32_cannot_hold_is_its_largest_number() -> None:
    engine = table_engine_from_bytes(graph(), CONTRACT, threads=1)
    assert engine(rows([1e308, -1e308], [None, None])).argmax(axis=1).tolist() == [0, 1]


def test_rows_without_a_column_or_with_another_type_are_refused() -> None:
    engine = table_engine_from_bytes(graph(), CONTRACT, threads=1)
    arrays = dict(rows([1.0], [None]).arrays)
    with pytest.raises(DataError, match=r"'age' of shape .1,. and type float32 does not fit"):
        engine(Batch({**arrays, "age": np.zeros(1, dtype=np.float32)}))
    arrays.pop("age")
    with pytest.raises(DataError, match="there is no array 'age'"):
        engine(Batch(arrays))
    with pytest.raises(DataError, match="this model takes no pictures"):
        _ = engine.image_size


def test_a_version_of_a_table_is_its_graph_whatever_engine_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / ONNX_FILE).parent.mkdir()
    (tmp_path / ONNX_FILE).write_bytes(graph())
    for config in (EngineConfig(), EngineConfig("torch", "cpu")):
        assert load_engine(tmp_path, CONTRACT, config).name == "onnx"
    with pytest.raises(ModelFormatError, match=r"model.onnx: the graph takes 'age', which is no column"):
        load_table_engine(tmp_path / ONNX_FILE, NUMBERS)
    with pytest.raises(ModelFormatError, match="a model that reads no table"):
        table_engine_from_bytes(graph(), image_classifier(("no", "yes"), 2, 2), threads=1)
    (tmp_path / ONNX_FILE).unlink()
    with pytest.raises(ModelFormatError, match="download it again"):
        load_engine(tmp_path, CONTRACT, EngineConfig())


def test_its_latency_is_measured_with_rows_that_fit() -> None:
    assert len(measure_latency(table_engine_from_bytes(graph(), CONTRACT, threads=1), calls=3, warmup=1)) == 3
    drawn = random_rows(CONTRACT.inputs, 50, seed=2)
    assert 18 <= drawn.array("age").min() <= drawn.array("age").max() <= 99
    assert set(drawn.array("plan")) == {"gold", "free"}
    with pytest.raises(DataError, match="no rows can be drawn for TextInputs"):
        random_rows(TextInputs(), 1, seed=0)
