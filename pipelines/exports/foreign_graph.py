"""Brings an ONNX graph that another exporter wrote into the form that every table model has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto

from pipelines.engines.graph_check import (
    ML_DOMAIN,
    TABLE_OPERATORS,
    check_operators,
    declared_shape,
    graph_inputs,
    is_text,
    load_plain_graph,
)
from pipelines.engines.onnx_engine import open_session
from pipelines.errors import DataError
from pipelines.exports.graph_edit import to_table_graph
from registry.model_contract import Column

_NUMBERS: Final = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.INT64: np.int64}


@dataclass(frozen=True, eq=False)
class ForeignGraph:
    """A plain graph of a classifier: what it is fed, and the one output with a probability for each class."""

    model: onnx.ModelProto
    inputs: tuple[onnx.ValueInfoProto, ...]
    labels: tuple[object, ...]
    """The classes that the graph itself names, in the order of its probabilities; empty where it names none."""

    @property
    def takes_matrix(self) -> bool:
        """Whether all columns are fed as one matrix of numbers."""
        return len(self.inputs) == 1 and declared_shape(self.inputs[0])[1:] != [1]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it names; none where it takes a matrix."""
        return () if self.takes_matrix else tuple(value.name for value in self.inputs)

    @property
    def whole_inputs(self) -> tuple[str, ...]:
        """Inputs of whole numbers: there is none that says that a value is missing."""
        whole = [value.name for value in self.inputs if value.type.tensor_type.elem_type == TensorProto.INT64]
        return tuple(whole)


def read_foreign_graph(content: bytes) -> ForeignGraph:
    """The graph in these bytes, without what makes dictionaries of its answers; raises ModelFormatError, DataError."""
    model = load_plain_graph(content)
    labels: tuple[object, ...] = ()
    maps = {node.output[0]: node for node in model.graph.node if node.domain == ML_DOMAIN and node.op_type == "ZipMap"}
    answers = []
    for value in model.graph.output:
        if value.name in maps:
            node = maps[value.name]
            labels = _zipped_labels(node)
            answers.append(onnx.ValueInfoProto(name=node.input[0]))  # ONNX Runtime finds its type
        elif value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
            answers.append(value)
    if len(answers) != 1:
        raise DataError(
            f"of {len(model.graph.output)} outputs of the graph {len(answers)} may be probabilities; export it with "
            "its label and one matrix of probabilities, a column for each class"
        )
    kept = [node for node in model.graph.node if node.output[0] not in maps]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    model.graph.output.extend(answers)
    check_operators(model.graph, TABLE_OPERATORS)
    inputs = tuple(graph_inputs(model.graph))
    for value in inputs:
        _check_input(value)
    return ForeignGraph(model, inputs, labels)


def foreign_table_graph(
    foreign: ForeignGraph, columns: Sequence[Column], positions: Sequence[int], classes: int
) -> bytes:
    """The graph with one input per column, float32 or strings, and its probabilities in the contract's order."""
    changed = onnx.ModelProto()
    changed.CopyFrom(foreign.model)
    if foreign.takes_matrix:
        _check_matrix(foreign.inputs[0], columns)
        features = [column.name for column in columns]
        ordered = list(foreign.inputs)
    else:
        by_name, features = {value.name: value for value in foreign.inputs}, []
        ordered = [by_name[column.name] for column in columns]
        for column, value in zip(columns, ordered, strict=True):
            _check_column(value, column)
    del changed.graph.input[:]
    changed.graph.input.extend(ordered)
    return to_table_graph(changed, columns, features, positions, classes)


def foreign_probabilities(foreign: ForeignGraph, frame: pd.DataFrame) -> NDArray[np.float64]:
    """What the graph itself answers to these rows (n, outputs), fed as it was made to be."""
    session = open_session(foreign.model.SerializeToString(), threads=1)
    fed = {}
    for value in foreign.inputs:
        kind = value.type.tensor_type.elem_type
        part = frame if foreign.takes_matrix else frame[[value.name]]
        if kind == TensorProto.STRING:
            fed[value.name] = np.array([["" if each is None else str(each)] for each in part.iloc[:, 0]], dtype=object)
        else:
            fed[value.name] = part.to_numpy(dtype=np.float64, na_value=np.nan).astype(_NUMBERS[kind])
    [answer] = session.run([foreign.model.graph.output[0].name], fed)
    answers: NDArray[np.float64] = np.asarray(answer, dtype=np.float64)
    if answers.ndim != 2 or len(answers) != len(frame) or answers.shape[1] < 2:
        raise DataError(
            f"the graph answers {list(answers.shape)} to {len(frame)} rows; export it with a probability for each class"
        )
    return answers


def _zipped_labels(node: onnx.NodeProto) -> tuple[object, ...]:
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings":
            return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
        if attribute.name == "classlabels_int64s":
            return tuple(attribute.ints)
    return ()


def _check_input(value: onnx.ValueInfoProto) -> None:
    kind, shape = value.type.tensor_type.elem_type, declared_shape(value)
    if len(shape) != 2 or kind not in (*_NUMBERS, TensorProto.STRING):
        raise DataError(
            f"the graph takes {value.name!r} as {onnx.TensorProto.DataType.Name(kind)} of {len(shape)} axes; export it "
            "with one matrix of numbers, or one input (n, 1) for each column"
        )


def _check_matrix(value: onnx.ValueInfoProto, columns: Sequence[Column]) -> None:
    width = declared_shape(value)[1]
    if width and width != len(columns):
        raise DataError(
            f"the graph takes {width} numbers a row, and {len(columns)} columns were given; name them in the model's "
            "order with --columns"
        )
    if texts := [column.name for column in columns if is_text(column)]:
        raise DataError(f"the graph takes a matrix of numbers, and the column {texts[0]!r} has texts; encode it before")
    if value.type.tensor_type.elem_type == TensorProto.STRING:
        raise DataError("the graph takes a matrix of texts; export it with one input (n, 1) for each column")


def _check_column(value: onnx.ValueInfoProto, column: Column) -> None:
    texts = value.type.tensor_type.elem_type == TensorProto.STRING
    if texts != is_text(column):
        raise DataError(
            f"the graph takes {column.name!r} as {'texts' if texts else 'numbers'}, and the golden rows have "
            f"{column.kind} values there; give them as it was trained on"
        )
