"""Converts scikit-learn's KNeighborsClassifier for skl2onnx without a loop: all distances at once, in float64.

The graph holds the rows that it was fitted on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from pipelines.errors import DataError
from pipelines.exports.tree_converters import add_answers


def convert_neighbors(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    """The mean of the classes of the k nearest rows, by Euclidean distance."""
    model = operator.raw_operator
    euclidean = model.effective_metric_ == "euclidean"
    if not euclidean or model.weights != "uniform" or model.outputs_2d_:
        raise DataError(
            f"KNeighborsClassifier(metric={model.metric!r}, weights={model.weights!r}) cannot be exported; "
            "use the Euclidean metric and weights='uniform'"
        )
    rows = np.asarray(model._fit_X.todense() if hasattr(model._fit_X, "todense") else model._fit_X, dtype=np.float64)
    classes = np.eye(len(model.classes_))[model._y.ravel()]

    def constant(name: str, kind: int, values: Any) -> str:  # noqa: ANN401
        array = np.asarray(values)
        written = scope.get_unique_variable_name(name)
        container.add_initializer(written, kind, list(array.shape), array.ravel().tolist())
        return str(written)

    def node(kind: str, inputs: list[str], outputs: int = 1, **attributes: object) -> list[str]:
        made = [str(scope.get_unique_variable_name(kind.lower())) for _ in range(outputs)]
        container.add_node(kind, inputs, made, name=scope.get_unique_operator_name(kind), **attributes)
        return made

    [wide] = node("Cast", [operator.inputs[0].full_name], to=TensorProto.DOUBLE)
    # |x - r|² = |x|² - 2 x·r + |r|², and |x|² is the same for all neighbours of a row
    [products] = node("MatMul", [wide, constant("fitted", TensorProto.DOUBLE, -2.0 * rows.T)])
    [distances] = node("Add", [products, constant("norms", TensorProto.DOUBLE, (rows**2).sum(axis=1)[None, :])])
    nearest = node(
        "TopK", [distances, constant("k", TensorProto.INT64, [model.n_neighbors])], 2, axis=1, largest=0, sorted=1
    )[1]
    [found] = node("Gather", [constant("truths", TensorProto.FLOAT, classes), nearest], axis=0)
    [shares] = node("ReduceMean", [found, constant("axis", TensorProto.INT64, [1])], keepdims=0)
    add_answers(scope, operator, container, shares)
