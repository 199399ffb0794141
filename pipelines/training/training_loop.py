"""Trains a network on rows and returns the weights of the best epoch."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipelines.data import Examples, images_of
from pipelines.engines.torch_engine import limit_threads
from pipelines.errors import DataError, TrainingError, TrainingStopped
from pipelines.image.augmentation import augment
from pipelines.recipe import Augmentation, NetworkRecipe
from pipelines.trainer import EpochMetrics
from pipelines.training.optimizer import ScheduledOptimizer, WeightAverage
from pipelines.training.training_checkpoint import checkpoint_path, read_checkpoint, write_checkpoint

VALIDATION_CHUNK_ROWS = 512

RowTensors = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network, holding the weights of its best epoch, in evaluation mode, on the CPU."""

    network: nn.Module
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    seconds: float
    checkpoint_path: Path | None = None
    """The file it goes on from where what follows fails; None where nothing is kept."""

    def discard_checkpoint(self) -> None:
        """Remove the file: what was trained is safe elsewhere."""
        if self.checkpoint_path is not None:
            self.checkpoint_path.unlink(missing_ok=True)


def fit(
    network: nn.Module,
    recipe: NetworkRecipe,
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    weights: NDArray[np.float32] | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
    checkpoint_folder: Path | None = None,
    device: str = "cpu",
) -> TrainingResult:
    """Train on rows that are already mixed. On a plateau schedule the epoch with the lowest validation loss wins.

    `weights` (n,) say how much each row counts, from 0 to 1; None counts all alike.
    On a CPU the same seed, rows and thread count give the same weights, bit for bit, also when the training was killed
    and goes on from its checkpoint: a file in `checkpoint_folder`, written after each epoch, which the caller
    discards once what was trained is safe elsewhere.
    What was done before the kill is told again. On another device sums may differ in their last bits.
    """
    _check(train, validation, weights)
    _check_device(device)
    started = clock()
    counts = torch.ones(len(train)) if weights is None else torch.from_numpy(weights.copy())
    with _torch_settings(recipe.threads, seed):
        batches = -(-len(train) // recipe.batch_size)
        run = _TrainingRun(network.to(device), recipe, seed, batches * recipe.epochs, should_stop, clock)
        progress, file, name = TrainingProgress(), None, ""
        if checkpoint_folder is not None:
            name = checkpoint_key(network, recipe, seed, train, validation, counts)
            file = checkpoint_path(checkpoint_folder, name)
            progress = run.restore(read_checkpoint(file, name)) or progress
            for metrics in progress.history:
                on_epoch(metrics)
        rows, checks = _to_tensors(train, device), _to_tensors(validation, device)
        for epoch in range(len(progress.history) + 1, recipe.epochs + 1):
            if progress.is_finished(recipe):
                break
            metrics = run.epoch(epoch, rows, counts.to(device), checks)
            progress = progress.with_epoch(metrics, recipe, run.weights)
            if file is not None:
                write_checkpoint(file, name, run.state() | progress.state())
            on_epoch(metrics)
        network.load_state_dict(progress.weights)
        set_memory_format(network.to("cpu"), torch.contiguous_format)
        network.eval()
    return TrainingResult(network, progress.history, progress.best_epoch, clock() - started, file)


def checkpoint_key(
    network: nn.Module,
    recipe: NetworkRecipe,
    seed: int,
    train: Examples,
    validation: Examples,
    row_weights: torch.Tensor,
) -> str:
    """What makes two trainings the same one: recipe, seed, first weights, rows and what each counts."""
    digest = hashlib.sha256(f"{recipe!r} {seed} {train.digest} {validation.digest}".encode())
    for tensor in (row_weights, *network.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingProgress:
    """How far a training is: its epochs, which of them is best, and that one's weights."""

    history: tuple[EpochMetrics, ...] = ()
    best_epoch: int = 0
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def with_epoch(
        self, metrics: EpochMetrics, recipe: NetworkRecipe, weights: Callable[[], Mapping[str, torch.Tensor]]
    ) -> TrainingProgress:
        """One epoch further."""
        history = (*self.history, metrics)
        lowest = self.best_epoch == 0 or metrics.validation_loss < self.history[self.best_epoch - 1].validation_loss
        if lowest or recipe.schedule == "one-cycle":
            return TrainingProgress(history, metrics.epoch, copy.deepcopy(dict(weights())))
        return TrainingProgress(history, self.best_epoch, self.weights)

    def is_finished(self, recipe: NetworkRecipe) -> bool:
        """Whether patience has run out."""
        return bool(self.history) and len(self.history) - self.best_epoch >= recipe.patience

    def state(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {
            "history": [asdict(metrics) for metrics in self.history],
            "best": self.best_epoch,
            "weights": dict(self.weights),
        }


class _TrainingRun:
    """The moving parts of one training: optimizer, schedule, mean of the weights and the order of rows."""

    def __init__(
        self,
        network: nn.Module,
        recipe: NetworkRecipe,
        seed: int,
        steps: int,
        should_stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        # Channels last is the layout in which convolutions are fastest, and needs no other code.
        set_memory_format(network, torch.channels_last)
        self._network = network
        self._recipe, self._should_stop, self._clock = recipe, should_stop, clock
        self._device = next(network.parameters()).device
        self._order_generator = torch.Generator().manual_seed(seed)
        on_cpu = self._device.type == "cpu"
        self._augmentation_generator = (
            self._order_generator if on_cpu else torch.Generator(self._device).manual_seed(seed)
        )
        self._optimizer = ScheduledOptimizer(self._network, recipe, steps)
        self._weight_average = WeightAverage(self._network, recipe.averaging) if recipe.averaging else None

    @property
    def _evaluated_network(self) -> nn.Module:
        """The network whose weights will be kept."""
        return self._network if self._weight_average is None else self._weight_average.network

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights that would be kept now."""
        return self._evaluated_network.state_dict()

    def epoch(self, number: int, rows: RowTensors, counts: torch.Tensor, checks: RowTensors) -> EpochMetrics:
        """Train on every row once, then look at rows that are not trained on."""
        started, rate = self._clock(), self._optimizer.learning_rate
        loss, accuracy = self._train(*rows, counts, self._recipe.augmentation_at(number))
        validation_loss, validation_accuracy = self._validate(*checks)
        if not (math.isfinite(loss) and math.isfinite(validation_loss)):
            raise TrainingError(
                f"epoch {number} of recipe '{self._recipe.name}' has loss {loss} and validation loss "
                f"{validation_loss}; lower the learning rate {self._recipe.learning_rate:g}"
            )
        self._optimizer.end_epoch(validation_loss)
        spent = self._clock() - started
        epochs = self._recipe.epochs
        return EpochMetrics(number, epochs, loss, accuracy, validation_loss, validation_accuracy, rate, spent)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on; dropout draws from the global random state."""
        return {
            "network": self._network.state_dict(),
            "average": None if self._weight_average is None else self._weight_average.state(),
            "optimiser": self._optimizer.state(),
            "order": self._order_generator.get_state(),
            "draws": self._augmentation_generator.get_state(),
            "global": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any] | None) -> TrainingProgress | None:
        """Go on where a checkpoint's state was taken; None where there is none."""
        if state is None:
            return None
        self._network.load_state_dict(state["network"])
        if self._weight_average is not None:
            self._weight_average.restore(state["average"])
        self._optimizer.restore(state["optimiser"])
        self._order_generator.set_state(state["order"])
        self._augmentation_generator.set_state(state["draws"])
        torch.set_rng_state(state["global"])
        history = tuple(EpochMetrics(**metrics) for metrics in state["history"])
        return TrainingProgress(history, int(state["best"]), state["weights"])

    def _train(
        self, images: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, amount: Augmentation
    ) -> tuple[float, float]:
        """Mean loss and accuracy as seen while the weights move."""
        self._network.train()
        # Sums stay on the device: asking for a number would make an accelerator wait at each batch.
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        right = torch.zeros((), dtype=torch.int64, device=self._device)
        for rows in self._batches(len(labels)):
            if self._should_stop():
                raise TrainingStopped(
                    f"training of recipe '{self._recipe.name}' was asked to stop; start it again to go on"
                )
            chosen, truth = rows.to(self._device), labels[rows]
            batch = augment(_to_floats(images[chosen]), amount, self._augmentation_generator)
            logits, loss = self._loss(batch, truth, counts[chosen])
            self._optimizer.step(loss)
            if self._weight_average is not None:
                self._weight_average.update()
            loss_sum += loss.detach() * len(rows)
            right += (logits.detach().argmax(1) == truth).sum()
        return float(loss_sum) / len(labels), int(right) / len(labels)

    def _loss(
        self, batch: torch.Tensor, truth: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits in float32 and what they cost; bfloat16 has float32's range, so losses need no scaling."""
        halved = self._recipe.precision == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=halved):
            logits: torch.Tensor = self._network(batch)
        logits = logits.float()
        smoothing = self._recipe.label_smoothing
        each = functional.cross_entropy(logits, truth, reduction="none", label_smoothing=smoothing)
        return logits, (each * counts).mean()

    def _validate(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        self._evaluated_network.eval()
        with torch.inference_mode():
            logits = torch.cat(
                [self._evaluated_network(_to_floats(part)) for part in torch.split(images, VALIDATION_CHUNK_ROWS)]
            )
            loss = float(functional.cross_entropy(logits, labels))
            return loss, float((logits.argmax(1) == labels).float().mean())

    def _batches(self, rows: int) -> Iterator[torch.Tensor]:
        order = torch.randperm(rows, generator=self._order_generator)
        parts = list(torch.split(order, self._recipe.batch_size))
        if len(parts) > 1 and len(parts[-1]) == 1:  # batch norm cannot train on a single row
            last = parts.pop()
            parts[-1] = torch.cat([parts[-1], last])
        yield from parts


def set_memory_format(network: nn.Module, layout: torch.memory_format) -> None:
    """Put the weights of convolutions in this order in memory, in place."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


@contextmanager
def _torch_settings(threads: int, seed: int) -> Iterator[None]:
    """Threads and the global random state (dropout draws from it), put back afterwards."""
    with limit_threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _check(train: Examples, validation: Examples, weights: NDArray[np.float32] | None) -> None:
    if len(train) < 2 or len(validation) < 1:
        raise DataError(
            f"'{train.name}' has {len(train)} rows and '{validation.name}' has {len(validation)}; "
            "give at least 2 to train on and 1 to validate on"
        )
    if weights is not None and weights.shape != (len(train),):
        raise DataError(f"'{train.name}' has {len(train)} rows and weights of shape {weights.shape}; give one each")


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"cannot train on '{device}': {reason}; give cpu, or a device of this machine") from error


def _to_tensors(rows: Examples, device: str) -> RowTensors:
    images, labels = torch.from_numpy(images_of(rows.batch).copy()).unsqueeze(1), torch.from_numpy(rows.labels.copy())
    return images.to(device), labels.to(device)


def _to_floats(images: torch.Tensor) -> torch.Tensor:
    return images.to(torch.float32).div_(255.0)
