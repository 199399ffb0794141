"""What makes a model of chosen rows: what a trainer is given, and the trained model it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import Examples
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.recipe import Recipe
from registry.model_contract import ModelContract
from registry.model_package import ModelFiles


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch reached."""

    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float

    def as_metrics(self) -> dict[str, float]:
        """Stable names for a tracking server."""
        return {
            "train_loss": self.train_loss,
            "train_accuracy": self.train_accuracy,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
            "learning_rate": self.learning_rate,
            "epoch_seconds": self.seconds,
        }


@dataclass(frozen=True, eq=False)
class StartingModel:
    """A registered version that a training may begin with."""

    version: int
    engine: InferenceEngine


@dataclass(frozen=True, eq=False)
class TrainingRequest:
    """What a trainer is given: rows that are chosen already, and whom to tell of its progress."""

    contract: ModelContract
    recipe: Recipe
    rows: Examples
    weights: NDArray[np.float32]
    """How much each row counts, (n,), from 0 to 1."""
    validation: Examples
    """Rows that choose among what was trained, and are never trained on."""
    seed: int
    champion: StartingModel | None = None
    checkpoint_folder: Path | None = None
    """Where a training leaves what it needs to go on after a kill; None keeps nothing."""
    device: str = "cpu"
    log_params: Callable[[Mapping[str, str | int | float | bool]], None] = lambda _: None
    """Takes what was chosen for this training, beyond recipe and seed."""
    log_metrics: Callable[[Mapping[str, float], int], None] = lambda _metrics, _step: None
    """Takes numbers at a step."""
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None
    """Told each epoch, where a training has epochs; it logs the epoch's metrics."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked often; where it says so, the training raises TrainingStopped."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model that was trained and exported; what is judged is the export, as a server will answer with it."""

    engine: InferenceEngine
    """Opened from the exported file."""
    size_bytes: int
    seconds: float
    files: Callable[[Batch, NDArray[np.float32]], ModelFiles]
    """What is registered, given golden rows and how `engine` answered them: a second format must answer them alike."""
    packages: tuple[str, ...]
    """The installed packages whose versions are noted as what the files need."""
    temperature: float | None = None
    """By which the model divides its logits, where that was fitted on the validation rows."""
    history: tuple[EpochMetrics, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the training as a whole, for the tracking server."""
    model_details: Mapping[str, str] = field(default_factory=dict)
    training_details: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    """Lines of the model card: what the model is, how it was trained, and the versions of what trained it."""
    discard_checkpoint: Callable[[], None] = lambda: None
    """Removes what the training would go on from: the model is safe elsewhere."""


class Trainer(Protocol):
    """One way of training; it holds no state between trainings."""

    def train(self, request: TrainingRequest) -> TrainedModel:
        """Train and export a model; raises TrainingStopped, TrainingError or DataError."""
