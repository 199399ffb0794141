"""Exports a fitted classifier of a table as an ONNX graph, and measures how far apart their answers are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.errors import DataError
from pipelines.exports.booster_export import booster_graph, booster_probabilities, is_booster
from pipelines.exports.class_order import class_positions
from pipelines.exports.frames import model_frame
from pipelines.exports.sklearn_export import check_classifier, sklearn_graph
from registry.model_contract import ModelContract, TableInputs

log = logging.getLogger(__name__)
MAX_DIFFERENT_SHARE: Final = 0.01
"""Of rows that the graph answers with another class: above it, the graph is another model."""
CLOSE_PROBABILITY: Final = 1e-4
"""A difference that float32 explains: no other way of exporting is tried."""


@dataclass(frozen=True)
class ExportFidelity:
    """How the graph's answers lie to those of the model that was fitted, on the same rows."""

    rows: int
    different_answers: int
    largest_difference: float
    """Of one probability."""

    def to_sentence(self) -> str:
        """For the model card."""
        return (
            f"The exported graph names another class than the fitted model on {self.different_answers} of {self.rows} "
            f"rows; their probabilities are at most {self.largest_difference:.2g} apart."
        )


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """The graph that is judged, compared and served, and its likeness to what was fitted."""

    content: bytes
    fidelity: ExportFidelity
    model: str
    """What was fitted, in a few words."""


def export_classifier(
    model: object, contract: ModelContract, rows: Batch, given: pd.DataFrame | None = None
) -> ExportedModel:
    """The fitted model as a graph of the contract, measured on these rows; raises DataError where there is none.

    `given` is what the fitted model itself is asked with: the rows as its owner has them, else as a graph is fed.
    """
    if not isinstance(contract.inputs, TableInputs):
        raise DataError(f"{type(model).__name__} reads rows of a table, and the contract has none")
    columns = contract.inputs.columns
    frame, best, reasons = model_frame(rows, columns) if given is None else given, None, []
    ways: dict[str, Callable[[], bytes]]
    if is_booster(model):
        ways = {"as it is": lambda: booster_graph(model, contract, columns)}
    else:
        check_classifier(model)
        ways = {
            "in float32": lambda: sklearn_graph(model, contract, columns, wide=False),
            "with float64 before the classifier": lambda: sklearn_graph(model, contract, columns, wide=True),
        }
    expected: NDArray[np.float64] | None = None
    for way, convert in ways.items():
        try:
            content = convert()
            expected = fitted_probabilities(model, contract, frame) if expected is None else expected
            likeness = compare_answers(expected, graph_probabilities(content, contract, rows))
            found = ExportedModel(content, likeness, describe_model(model))
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001 - converters and ONNX Runtime raise anything
            reasons.append(f"{way}: {type(error).__name__}: {str(error).strip()[:300]}")
            log.info("%s was not exported %s", type(model).__name__, reasons[-1])
            continue
        if best is None or _distance(found) < _distance(best):
            best = found
        if not best.fidelity.different_answers and best.fidelity.largest_difference <= CLOSE_PROBABILITY:
            break
    if best is None:
        raise DataError(
            f"{describe_model(model)} cannot be exported as an ONNX graph ({'; '.join(reasons)}); put a "
            "ColumnTransformer first in a Pipeline and the classifier last, with all that wraps it, and take an "
            "estimator and encoders that docs/how-to/add-a-table-pipeline.md lists"
        )
    check_likeness(describe_model(model), best.fidelity)
    return best


def fitted_probabilities(model: Any, contract: ModelContract, frame: pd.DataFrame) -> NDArray[np.float64]:  # noqa: ANN401
    """What the fitted model answers (n, classes), in the contract's order."""
    if is_booster(model):
        return booster_probabilities(model, frame)
    names = getattr(model, "feature_names_in_", None)
    given = frame.to_numpy() if names is None else frame[[name for name in names if name in frame.columns]]
    answers = np.asarray(model.predict_proba(given))
    ordered = np.zeros((len(frame), len(contract.classes)))
    ordered[:, class_positions(model.classes_, contract.classes)] = answers
    return ordered


def graph_probabilities(content: bytes, contract: ModelContract, rows: Batch) -> NDArray[np.float32]:
    """What the graph answers (n, classes), computed as a server does."""
    return table_engine_from_bytes(content, contract, threads=1)(rows)


def compare_answers(expected: NDArray[np.float64], given: NDArray[np.float32]) -> ExportFidelity:
    """How far two models' probabilities of the same rows are apart; what is not finite is as far as can be."""
    difference = np.abs(np.nan_to_num(given.astype(np.float64), nan=2.0) - expected)
    different = int((given.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return ExportFidelity(len(expected), different, float(difference.max(initial=0.0)))


def _distance(model: ExportedModel) -> tuple[int, float]:
    return model.fidelity.different_answers, model.fidelity.largest_difference


def describe_model(model: object) -> str:
    """What was fitted, in a few words."""
    steps = getattr(model, "steps", None)
    if not isinstance(steps, list):
        return type(model).__name__
    return f"the Pipeline of {', '.join(type(step).__name__ for _, step in steps)}"


def check_likeness(model: str, fidelity: ExportFidelity) -> None:
    """Raise DataError where the graph is another model than the one that it was made of."""
    if fidelity.different_answers > MAX_DIFFERENT_SHARE * fidelity.rows:
        raise DataError(
            f"the graph of {model} is another model: it answers {fidelity.different_answers} of "
            f"{fidelity.rows} rows with another class (allowed: {MAX_DIFFERENT_SHARE:.0%}); where a OneHotEncoder "
            "feeds XGBoost, give it sparse_output=False, else choose another estimator"
        )
