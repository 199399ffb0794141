"""A table's graph takes the contract's columns and answers its classes with listed operators, or it is refused."""

import onnx
import pytest
from onnx import TensorProto, helper

from pipelines.engines.graph_check import check_table_graph
from pipelines.errors import ModelFormatError
from registry.model_contract import Column, ModelContract, TableInputs, image_classifier
from registry.prediction_task import Classification

CONTRACT = ModelContract(
    TableInputs((Column("age", "number"), Column("plan", "category"))), Classification(("no", "yes")), truth="event"
)


def _graph(
    *extra: onnx.NodeProto,
    age: int = TensorProto.FLOAT,
    plan: int = TensorProto.STRING,
    answers: int | None = 2,
    names: tuple[str, str] = ("age", "plan"),
    outputs: int = 1,
) -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 2], [1.0, 2.0])
    nodes = [
        helper.make_node(
            "LabelEncoder", ["plan"], ["code"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0]
        ),
        helper.make_node("Add", ["age", "code"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        *extra,
    ]
    inputs = [
        helper.make_tensor_value_info(names[0], age, [None, 1]),
        helper.make_tensor_value_info(names[1], plan, [None, 1]),
    ]
    answered = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, answers]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, answered[:outputs], [weight])
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()
    return content


def test_a_graph_of_listed_operators_with_the_contracts_columns_is_accepted() -> None:
    check_table_graph(_graph(), CONTRACT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_graph(helper.make_node("CDist", ["age", "age"], ["d"], domain="com.microsoft")), "com.microsoft.CDist"),
        (_graph(helper.make_node("RandomNormal", [], ["r"], shape=[1])), "uses the operator RandomNormal"),
        (_graph(helper.make_node("TfIdfVectorizer", ["plan"], ["t"])), "uses the operator TfIdfVectorizer"),
        (_graph(names=("years", "plan")), "takes 'years', which is no column"),
        (_graph(age=TensorProto.DOUBLE), "the column 'age' as DOUBLE"),
        (_graph(plan=TensorProto.FLOAT), "the column 'plan' as FLOAT"),
        (_graph(answers=3), r"answers FLOAT \[0, 3\], not FLOAT \[0, 2\]"),
        (_graph(answers=None), r"answers FLOAT \[0, 0\]"),
        (_graph(outputs=2), "has 2 outputs"),
        (b"not a graph at all", "not an ONNX graph"),
    ],
)
def test_any_other_graph_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ModelFormatError, match=reason):
        check_table_graph(content, CONTRACT)


def test_a_graph_with_a_loop_inside_is_refused() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    with pytest.raises(ModelFormatError, match="has a graph inside the operator Scan"):
        check_table_graph(_graph(helper.make_node("Scan", ["age"], ["z"], body=body, num_scan_inputs=1)), CONTRACT)


def test_a_graph_that_does_not_take_a_column_is_refused() -> None:
    wider = ModelContract(TableInputs((*CONTRACT.inputs.columns, Column("income", "number"))), CONTRACT.task)  # type: ignore[union-attr]
    with pytest.raises(ModelFormatError, match="does not take the column 'income'"):
        check_table_graph(_graph(), wider)


def test_a_table_graph_for_a_model_of_pictures_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="reads no table"):
        check_table_graph(_graph(), image_classifier(("a", "b"), 4, 4))
