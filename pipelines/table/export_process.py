"""Opens a stored model and exports it as a graph, in a process of its own: what that leaves is read as data alone."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from pipelines.errors import DataError, PipelineError
from pipelines.exports.booster_export import is_booster, output_count, own_features
from pipelines.exports.class_order import class_names, class_positions
from pipelines.exports.export_model import (
    ExportedModel,
    check_likeness,
    compare_answers,
    export_classifier,
    graph_probabilities,
)
from pipelines.exports.foreign_graph import (
    ForeignGraph,
    foreign_probabilities,
    foreign_table_graph,
    read_foreign_graph,
)
from pipelines.exports.sklearn_export import check_classifier
from pipelines.exports.stored_model import open_stored_model
from pipelines.table.adopted_columns import adopted_columns
from pipelines.table.columns import table_batch
from pipelines.table.export_request import GRAPH_FILE, ROWS_FILE, ExportRequest, ExportResult
from registry.errors import RegistryError
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification

LIKENESS_ROWS: Final = 20_000
"""At most so many rows, the first ones, are answered by the model itself."""


def main(folder: Path) -> None:
    """Do what the request in this folder asks, and leave graph and result beside it."""
    request = ExportRequest.read(folder)
    if request.code is not None:
        sys.path.insert(0, request.code)
    frame = pd.read_parquet(folder / ROWS_FILE).head(LIKENESS_ROWS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            content, result = export_stored(request, frame)
        except (PipelineError, RegistryError) as error:
            ExportResult.failed(str(error)).write(folder)
            return
    versions = [str(each.message) for each in caught if each.category.__name__ == "InconsistentVersionWarning"]
    (folder / GRAPH_FILE).write_bytes(content)
    ExportResult(**{**vars(result), "warnings": tuple(text.partition(". This")[0] for text in versions[:3])}).write(
        folder
    )


def export_stored(request: ExportRequest, frame: pd.DataFrame) -> tuple[bytes, ExportResult]:
    """The graph of a stored model, and what it takes and answers; raises DataError naming what does not fit."""
    path = Path(request.path)
    if request.format == "onnx":
        return _adopt_graph(read_foreign_graph(path.read_bytes()), request, frame)
    model = open_stored_model(path, request.format, classifier=request.classifier)
    if not is_booster(model):
        check_classifier(model)
    names = request.columns or _own_columns(model, request.offered)
    columns = adopted_columns(frame, names, request.kinds)
    labels: Sequence[object] = () if is_booster(model) else list(model.classes_)
    classes = class_names(labels, output_count(model) if is_booster(model) else 0, request.truths, request.classes)
    contract = ModelContract(TableInputs(columns), Classification(classes), truth="event")
    exported = export_classifier(model, contract, table_batch(frame, columns), frame[list(names)])
    return exported.content, _result(exported, columns, classes)


def _adopt_graph(foreign: ForeignGraph, request: ExportRequest, frame: pd.DataFrame) -> tuple[bytes, ExportResult]:
    names = request.columns if foreign.takes_matrix or set(request.columns) == set(foreign.names) else foreign.names
    names = names or request.offered
    required = foreign.whole_inputs
    columns = adopted_columns(frame, names, request.kinds, names if foreign.takes_matrix and required else required)
    given = frame[list(names)]
    expected = foreign_probabilities(foreign, given)
    classes = class_names(foreign.labels, expected.shape[1], request.truths, request.classes)
    contract = ModelContract(TableInputs(columns), Classification(classes), truth="event")
    positions = class_positions(foreign.labels, classes) if foreign.labels else list(range(len(classes)))
    content = foreign_table_graph(foreign, columns, positions, len(classes))
    ordered = np.zeros_like(expected)
    ordered[:, positions] = expected
    likeness = compare_answers(ordered, graph_probabilities(content, contract, table_batch(frame, columns)))
    check_likeness("the logged model", likeness)
    return content, _result(ExportedModel(content, likeness, "an ONNX graph"), columns, classes)


def _own_columns(model: Any, offered: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ANN401
    """The columns that the model itself names; those offered where it names none."""
    named = own_features(model) if is_booster(model) else getattr(model, "feature_names_in_", None)
    names = () if named is None else tuple(str(name) for name in named)
    if names and not is_booster(model):
        return names
    if names and set(names) <= set(offered):
        return names
    count = len(names) or int(getattr(model, "n_features_in_", len(offered)))
    if count != len(offered):
        raise DataError(
            f"the model reads {count} columns without naming them, and the golden rows have {len(offered)} that may be "
            f"meant ({', '.join(offered)}); name them in the model's order with --columns"
        )
    return offered


def _result(exported: ExportedModel, columns: Sequence[Column], classes: tuple[str, ...]) -> ExportResult:
    likeness = exported.fidelity
    return ExportResult(
        columns=tuple(column.name for column in columns),
        classes=classes,
        required=tuple(column.name for column in columns if not column.optional),
        model=exported.model,
        rows=likeness.rows,
        different_answers=likeness.different_answers,
        largest_difference=likeness.largest_difference,
    )
