"""Calls a user's `train` with rows of a table, and exports what it gives back as the graph that is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples
from pipelines.errors import DataError, PipelineError, TrainingError
from pipelines.exports.export_model import ExportedModel, export_classifier
from pipelines.exports.frames import model_frame
from pipelines.table.training_context import TrainingContext
from registry.model_contract import ModelContract, TableInputs

TrainFunction = Callable[[TrainingContext], object]
"""Gives back a fitted classifier of scikit-learn, LightGBM or XGBoost."""


@dataclass(frozen=True, eq=False)
class TableTraining:
    """The rows of one training, and whom to ask and tell while it runs."""

    contract: ModelContract
    rows: Examples
    weights: NDArray[np.float32]
    validation: Examples
    seed: int
    folder: Path | None = None
    should_stop: Callable[[], bool] = lambda: False
    on_metrics: Callable[[Mapping[str, float], int], None] = lambda _metrics, _step: None


def fit_table(train: TrainFunction, training: TableTraining) -> ExportedModel:
    """The model that `train` made, as a graph whose likeness is measured on the validation rows.

    Raises DataError where it cannot be exported, TrainingStopped where it was cancelled, and TrainingError naming
    whatever `train` raised.
    """
    with TemporaryDirectory() as scratch:
        context = training_context(training, Path(scratch))
        try:
            model = train(context)
        except PipelineError:
            raise
        except Exception as error:
            raise TrainingError(f"train() of the pipeline raised {type(error).__name__}: {error}") from error
        context.check()
        return export_classifier(model, training.contract, training.validation.batch)


def training_context(training: TableTraining, scratch: Path) -> TrainingContext:
    """What `train` is given."""
    inputs = training.contract.inputs
    if not isinstance(inputs, TableInputs):
        raise DataError(f"a table's model takes columns, and this contract has {inputs}")
    names = np.array(training.contract.classes, dtype=object)
    return TrainingContext(
        x=model_frame(training.rows.batch, inputs.columns),
        y=names[training.rows.labels],
        codes=training.rows.labels.copy(),
        weights=training.weights.astype(np.float64),
        validation_x=model_frame(training.validation.batch, inputs.columns),
        validation_y=names[training.validation.labels],
        validation_codes=training.validation.labels.copy(),
        classes=training.contract.classes,
        seed=training.seed,
        folder=training.folder,
        scratch=scratch,
        should_stop=training.should_stop,
        on_metrics=training.on_metrics,
    )
