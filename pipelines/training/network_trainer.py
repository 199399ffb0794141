"""Trains a network of pictures with PyTorch and exports it as a pt2 graph, with an ONNX graph that answers alike.

PyTorch is imported by a training alone: naming a pipeline costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.recipe import network_recipe
from pipelines.trainer import TrainedModel, TrainingRequest
from registry.installed_version import installed_version
from registry.model_contract import image_inputs
from registry.model_package import ModelFiles, TorchFiles

if TYPE_CHECKING:
    from torch import nn

    from pipelines.engines.exportable import Exportable
    from pipelines.engines.onnx_engine import GraphExport
    from pipelines.engines.torch_engine import TorchEngine
    from pipelines.training.training_loop import TrainingResult


@dataclass(frozen=True)
class NetworkTrainer:
    """The trainer of grey pictures."""

    export_graph: GraphExport | None = None
    """Makes the graph that ONNX Runtime serves: `export_if_equivalent`, where none is given."""

    def train(self, request: TrainingRequest) -> TrainedModel:
        """Train by the recipe, from the champion's weights where it says so; fit the temperature; export."""
        from pipelines.engines.exportable import build_exportable
        from pipelines.engines.torch_engine import logits_of
        from pipelines.training.network import parameter_count
        from pipelines.training.temperature_scaling import fit_temperature

        validation, inputs = request.validation, image_inputs(request.contract)
        result = _fit(request)
        temperature = fit_temperature(logits_of(result.network, images_of(validation.batch)), validation.labels)
        module = build_exportable(result.network, height=inputs.height, width=inputs.width, temperature=temperature)
        engine, size_bytes = _export(module, request.contract.classes)
        parameters = parameter_count(result.network)
        return TrainedModel(
            engine=engine,
            size_bytes=size_bytes,
            seconds=result.seconds,
            files=lambda batch, answers: self._files(module, engine, batch, answers),
            packages=("torch", "numpy", "mlflow"),
            temperature=module.temperature,
            history=result.history,
            metrics={"parameters": parameters, "best_epoch": result.best_epoch},
            model_details={"Network": f"{parameters:,} parameters, {size_bytes / 1024:.0f} KiB on disk"},
            training_details={"Epochs": f"{len(result.history)}, the best was {result.best_epoch}"},
            software={"PyTorch": installed_version("torch")},
            discard_checkpoint=result.discard_checkpoint,
        )

    def _files(self, module: Exportable, engine: TorchEngine, batch: Batch, answers: NDArray[np.float32]) -> ModelFiles:
        """The module and, where ONNX Runtime answers the rows alike, its ONNX graph."""
        from pipelines.engines.onnx_engine import export_if_equivalent

        export = export_if_equivalent if self.export_graph is None else self.export_graph
        example = images_of(batch)[:2, None].astype(np.float32) / 255.0
        return TorchFiles(module, example, engine(batch[:2]), export(module, batch, answers))


def _fit(request: TrainingRequest) -> TrainingResult:
    """The trained network; whose weights it began with, and every epoch, is told."""
    from pipelines.training.training_loop import fit

    network, initial_weights = _initial_network(request)
    request.log_params({"begins_with": initial_weights})
    return fit(
        network,
        network_recipe(request.recipe),
        request.rows,
        request.validation,
        seed=request.seed,
        weights=request.weights,
        on_epoch=request.on_epoch,
        should_stop=request.should_stop,
        checkpoint_folder=request.checkpoint_folder,
        device=request.device,
    )


def _initial_network(request: TrainingRequest) -> tuple[nn.Module, str]:
    """The network before its first epoch, and whose weights it begins with."""
    from pipelines.engines.torch_engine import TorchEngine
    from pipelines.training.network import network_for
    from pipelines.training.warm_start import load_matching_weights

    recipe, champion = network_recipe(request.recipe), request.champion
    network = network_for(request.contract, recipe, request.seed)
    engine = None if champion is None or not recipe.warm_start else champion.engine
    if champion is not None and isinstance(engine, TorchEngine) and load_matching_weights(network, engine):
        return network, f"version {champion.version}"
    return network, "fresh weights"


def _export(module: Exportable, classes: tuple[str, ...]) -> tuple[TorchEngine, int]:
    """The model as a server will load it, with its size in bytes: exported, written, read back."""
    from pipelines.engines.exportable import save_exportable
    from pipelines.engines.torch_engine import load_torch_engine

    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save_exportable(module, path)
        return load_torch_engine(path, classes), path.stat().st_size
