"""The trainer of a table: a user's `train`, whose model becomes one ONNX graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.table.table_training import TableTraining, TrainFunction, fit_table
from pipelines.trainer import TrainedModel, TrainingRequest
from registry.installed_version import installed_version
from registry.model_package import OnnxFile


@dataclass(frozen=True, eq=False)
class TableTrainer:
    """Trains as `train_model` does, on rows whose data lie in `folder`."""

    train_model: TrainFunction
    folder: Path | None
    stopwatch: Callable[[], float] = time.perf_counter

    def train(self, request: TrainingRequest) -> TrainedModel:
        """Fit, export, and open the exported graph as a server does."""
        began = self.stopwatch()
        training = TableTraining(
            contract=request.contract,
            rows=request.rows,
            weights=request.weights,
            validation=request.validation,
            seed=request.seed,
            folder=self.folder,
            should_stop=request.should_stop,
            on_metrics=request.log_metrics,
        )
        exported = fit_table(self.train_model, training)
        size_bytes, likeness = len(exported.content), exported.fidelity
        return TrainedModel(
            engine=table_engine_from_bytes(exported.content, request.contract, threads=1),
            size_bytes=size_bytes,
            seconds=self.stopwatch() - began,
            files=lambda _batch, _answers: OnnxFile(exported.content),
            packages=("onnxruntime", "numpy", "mlflow"),
            metrics={
                "export_different_answers": likeness.different_answers,
                "export_largest_difference": likeness.largest_difference,
            },
            model_details={
                "Model": f"{exported.model}, as an ONNX graph of {size_bytes / 1024:.0f} KiB",
                "Export": likeness.to_sentence(),
            },
            software={
                "scikit-learn": installed_version("scikit-learn"),
                "onnxruntime": installed_version("onnxruntime"),
            },
        )
