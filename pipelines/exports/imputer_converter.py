"""Converts scikit-learn's SimpleImputer for skl2onnx, for float64 numbers and for texts, with missing indicators."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from pipelines.errors import DataError


def imputer_shapes(operator: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    """As many columns as there are statistics, and one for each indicator."""
    model, given = operator.raw_operator, operator.inputs[0]
    indicated = 0 if model.indicator_ is None else len(model.indicator_.features_)
    operator.outputs[0].type = type(given.type)([None, len(model.statistics_) + indicated])


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Missing values become their column's statistic; indicators follow as columns of 0 and 1."""
    model, given = operator.raw_operator, operator.inputs[0].full_name
    texts = "String" in type(operator.inputs[0].type).__name__
    kind = _tensor_kind(operator.inputs[0].type)
    if not texts and np.isnan(model.statistics_.astype(np.float64)).any():
        raise DataError("SimpleImputer saw a column without any value, and dropped it; leave that column out")

    def constant(name: str, values: list[Any]) -> str:
        written = scope.get_unique_variable_name(name)
        encoded = [str(value).encode() for value in values] if texts else [float(value) for value in values]
        container.add_initializer(written, kind, [1, len(values)], encoded)
        return str(written)

    def node(kind: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        made = output or str(scope.get_unique_variable_name(kind.lower()))
        container.add_node(kind, inputs, [made], name=scope.get_unique_operator_name(kind), **attributes)
        return made

    if not texts and _is_nan(model.missing_values):
        missing = node("IsNaN", [given])
    else:
        missing = node("Equal", [given, constant("missing", [model.missing_values])])
    output = operator.outputs[0].full_name
    indicated = [] if model.indicator_ is None else [int(place) for place in model.indicator_.features_]
    if indicated and texts:
        raise DataError("SimpleImputer(add_indicator=True) of texts cannot be exported; leave the indicator out")
    filled = node(
        "Where", [missing, constant("statistics", list(model.statistics_)), given], None if indicated else output
    )
    if indicated:
        places = scope.get_unique_variable_name("places")
        container.add_initializer(places, TensorProto.INT64, [len(indicated)], indicated)
        picked = node("Gather", [node("Cast", [missing], to=kind), str(places)], axis=1)
        node("Concat", [filled, picked], output, axis=1)


def _tensor_kind(kind: Any) -> int:  # noqa: ANN401
    name = type(kind).__name__
    for part, made in (("String", TensorProto.STRING), ("Double", TensorProto.DOUBLE), ("Float", TensorProto.FLOAT)):
        if part in name:
            return int(made)
    raise DataError(f"SimpleImputer of {name} cannot be exported; give it numbers or texts")


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and bool(np.isnan(value))
