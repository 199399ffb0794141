"""Graphs that other exporters wrote get one input per column; what they answer stays the same."""

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.errors import DataError, ModelFormatError
from pipelines.exports.export_model import graph_probabilities
from pipelines.exports.foreign_graph import foreign_probabilities, foreign_table_graph, read_foreign_graph
from pipelines.table.columns import table_batch
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification

COLUMNS = (Column("a", "number"), Column("b", "number"))
FRAME = pd.DataFrame({"a": [0.5, -1.0, 2.0], "b": [1.0, 3.0, -2.0]})


def matrix_graph(*, zipped: bool, kind: int = TensorProto.FLOAT, outputs: int = 2) -> bytes:
    """A linear classifier of one matrix (n, 2), with a label and probabilities, as dictionaries where `zipped`."""
    weights = numpy_helper.from_array(np.array([[1.0, -1.0], [0.5, 0.25]], dtype=np.float32), "weights")
    nodes = [
        helper.make_node("Cast", ["given"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
        helper.make_node("ArgMax", ["shares"], ["label"], axis=1, keepdims=0),
    ]
    answer = helper.make_tensor_value_info("shares", TensorProto.FLOAT, [None, 2])
    if zipped:
        nodes.append(
            helper.make_node("ZipMap", ["shares"], ["zipped"], domain="ai.onnx.ml", classlabels_strings=["y", "n"])
        )
        map_type = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        answer = helper.make_value_info("zipped", helper.make_sequence_type_proto(map_type))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("given", kind, [None, 2])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), *[answer] * (outputs - 1)],
        [weights],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_matrix_becomes_columns_and_answers_stay(kind: int, zipped: bool) -> None:
    foreign = read_foreign_graph(matrix_graph(zipped=zipped, kind=kind))
    assert foreign.labels == (("y", "n") if zipped else ())
    expected = foreign_probabilities(foreign, FRAME)
    contract = ModelContract(TableInputs(COLUMNS), Classification(("n", "y")), truth="event")
    content = foreign_table_graph(foreign, COLUMNS, [1, 0], 2)
    given = graph_probabilities(content, contract, table_batch(FRAME, COLUMNS))
    np.testing.assert_allclose(given, expected[:, ::-1], atol=1e-6)


def test_whole_numbers_have_no_missing_ones() -> None:
    assert read_foreign_graph(matrix_graph(zipped=False, kind=TensorProto.INT64)).whole_inputs == ("given",)
    assert read_foreign_graph(matrix_graph(zipped=False)).whole_inputs == ()


def test_another_number_of_columns_is_refused() -> None:
    foreign = read_foreign_graph(matrix_graph(zipped=False))
    with pytest.raises(DataError, match="takes 2 numbers a row, and 1 columns were given"):
        foreign_table_graph(foreign, COLUMNS[:1], [0, 1], 2)
    with pytest.raises(DataError, match="the column 'b' has texts"):
        foreign_table_graph(foreign, (COLUMNS[0], Column("b", "category")), [0, 1], 2)


def test_a_graph_without_probabilities_is_refused() -> None:
    with pytest.raises(DataError, match="of 1 outputs of the graph 0 may be probabilities"):
        read_foreign_graph(matrix_graph(zipped=False, outputs=1))


def test_an_operator_that_servers_do_not_compute_is_refused() -> None:
    model = onnx.load_model_from_string(matrix_graph(zipped=False))
    model.graph.node[1].domain = "com.example"
    with pytest.raises(ModelFormatError, match=r"uses the operator com\.example\.MatMul"):
        read_foreign_graph(model.SerializeToString())
