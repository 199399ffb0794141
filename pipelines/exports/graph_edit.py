"""Brings a converter's graph into the form that every table model has: a column each in, probabilities out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipelines.engines.graph_check import is_text
from registry.model_contract import Column

FEATURES: Final = "features"
"""The input of a converted graph whose model takes one matrix of numbers."""
OUTPUT_NAME: Final = "probabilities"
IR_VERSION: Final = 10
"""Of the file: ONNX Runtime of some years past reads it."""
OLDEST_OPSET: Final = 13
"""Of the standard operators that are added here."""


def to_table_graph(
    model: onnx.ModelProto, columns: Sequence[Column], features: Sequence[str], positions: Sequence[int], classes: int
) -> bytes:
    """The graph with one float32 or string input per column, and its probabilities in the contract's order.

    `features` names the columns of its one matrix, in order; a graph that takes columns by name needs none. `positions`
    says which class each output is; a class without one gets the probability 0.
    """
    taken = [(value.name, value.type.tensor_type.elem_type) for value in model.graph.input]
    inner = unused_prefix([column.name for column in columns])
    nodes = _with_prefix(model.graph, inner)
    before = _matrix(features, inner, *taken[0]) if features else _each_column(columns, taken, inner)
    answer = model.graph.output[-1]
    after, order = _in_order(inner + answer.name, positions, classes, inner)
    output = OUTPUT_NAME if OUTPUT_NAME not in {column.name for column in columns} else f"{inner}_{OUTPUT_NAME}"
    after.append(helper.make_node("Cast", [after[-1].output[0]], [output], to=TensorProto.FLOAT))
    needed = _needed([*before, *nodes, *after], output)
    used = {name for node in needed for name in node.input}
    graph = helper.make_graph(
        needed,
        "table",
        [helper.make_tensor_value_info(each.name, _input_type(each), [None, 1]) for each in columns],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, classes])],
        [tensor for tensor in (*model.graph.initializer, *order) if tensor.name in used],
    )
    made = helper.make_model(graph, opset_imports=_opsets(model), producer_name="mlplatform")
    made.ir_version = IR_VERSION
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def _input_type(column: Column) -> int:
    kind: int = TensorProto.STRING if is_text(column) else TensorProto.FLOAT
    return kind


def unused_prefix(names: Sequence[str]) -> str:
    """What no column's name begins with, also as an identifier: nothing inside the graph is named as a column."""
    written = [*names, *(re.sub(r"\W", "_", name) for name in names)]
    prefix = "table_"
    while any(name.startswith(prefix) for name in written):
        prefix += "_"
    return prefix


def _with_prefix(graph: onnx.GraphProto, prefix: str) -> list[onnx.NodeProto]:
    """The graph's operators, after all of its values were renamed; an empty name stands for what is left out."""
    for tensor in graph.initializer:
        tensor.name = prefix + tensor.name
    for node in graph.node:
        node.input[:] = [name and prefix + name for name in node.input]
        node.output[:] = [name and prefix + name for name in node.output]
    return list(graph.node)


def _each_column(columns: Sequence[Column], taken: Sequence[tuple[str, int]], inner: str) -> list[onnx.NodeProto]:
    """Each column as the converted graph takes it, as float32 or another number; that may name it otherwise."""
    return [
        helper.make_node("Cast", [column.name], [inner + name], to=kind)
        if kind not in (TensorProto.FLOAT, TensorProto.STRING)
        else helper.make_node("Identity", [column.name], [inner + name])
        for column, (name, kind) in zip(columns, taken, strict=True)
    ]


def _matrix(features: Sequence[str], inner: str, name: str, kind: int) -> list[onnx.NodeProto]:
    """The columns beside each other, as the converted graph takes them."""
    joined = f"{inner}joined"
    return [
        helper.make_node("Concat", list(features), [joined], axis=1),
        helper.make_node("Cast", [joined], [inner + name], to=kind),
    ]


def _in_order(
    answer: str, positions: Sequence[int], classes: int, inner: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """What puts the probabilities into the contract's order, and its matrix of zeros and ones."""
    plain = f"{inner}plain"
    nodes = [helper.make_node("Cast", [answer], [plain], to=TensorProto.FLOAT)]
    if list(positions) == list(range(classes)):
        return nodes, []
    order = np.zeros((len(positions), classes), dtype=np.float32)
    order[np.arange(len(positions)), list(positions)] = 1.0
    nodes.append(helper.make_node("MatMul", [plain, f"{inner}order"], [f"{inner}ordered"]))
    return nodes, [numpy_helper.from_array(order, f"{inner}order")]


def _needed(nodes: Iterable[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The operators that the output depends on, in their order: no label, and nothing that only it needs."""
    wanted, kept = {output}, []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _opsets(model: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """Each domain once, in the newest version that a part of the graph asks for."""
    versions = {"": OLDEST_OPSET}
    for each in model.opset_import:
        versions[each.domain] = max(versions.get(each.domain, 1), each.version)
    return [helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())]
