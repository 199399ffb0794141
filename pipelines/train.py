"""A training run, from network and rows to the best epoch's weights; refuses to know where its news goes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipelines.augment import augment
from pipelines.data import ImageSet
from pipelines.errors import DataError, TrainingError, TrainingStopped
from pipelines.recipe import Recipe

CHECK_ROWS = 512

Rows = tuple[torch.Tensor, torch.Tensor]


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
class Fitted:
    """A trained network, holding the weights of its best epoch, in evaluation mode."""

    network: nn.Module
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    seconds: float


def fit(
    network: nn.Module,
    recipe: Recipe,
    train: ImageSet,
    validation: ImageSet,
    *,
    seed: int,
    weights: NDArray[np.float32] | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> Fitted:
    """Train on rows that are already mixed; the epoch with the lowest validation loss wins.

    `weights` (n,) say how much each row counts, from 0 to 1; None counts all alike.
    On a CPU the same seed, rows and thread count give the same weights, bit for bit.
    """
    _check(train, validation, weights)
    started = clock()
    rows, checks = _tensors(train), _tensors(validation)
    counts = torch.ones(len(train)) if weights is None else torch.from_numpy(weights.copy())
    with _settings(recipe.threads, seed):
        run = _Run(network, recipe, seed, should_stop, clock)
        history: list[EpochMetrics] = []
        best, best_weights = 0, network.state_dict()
        for epoch in range(1, recipe.epochs + 1):
            history.append(run.epoch(epoch, rows, counts, checks))
            on_epoch(history[-1])
            if best == 0 or history[-1].validation_loss < history[best - 1].validation_loss:
                best, best_weights = epoch, copy.deepcopy(network.state_dict())
            elif epoch - best >= recipe.patience:
                break
        network.load_state_dict(best_weights)
        network.eval()
    return Fitted(network, tuple(history), best, clock() - started)


class _Run:
    """The moving parts of one training: optimizer, schedule and the order of rows."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        seed: int,
        should_stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._network, self._recipe, self._should_stop, self._clock = network, recipe, should_stop, clock
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._optimizer, factor=0.5, patience=recipe.plateau_patience
        )

    def epoch(self, number: int, rows: Rows, counts: torch.Tensor, checks: Rows) -> EpochMetrics:
        """Train on every row once, then look at rows that are not trained on."""
        begun, rate = self._clock(), float(self._optimizer.param_groups[0]["lr"])
        loss, accuracy = self._train(*rows, counts)
        held_loss, held_accuracy = self._validate(*checks)
        if not (math.isfinite(loss) and math.isfinite(held_loss)):
            raise TrainingError(
                f"epoch {number} of recipe '{self._recipe.name}' has loss {loss} and validation loss "
                f"{held_loss}; lower the learning rate {self._recipe.learning_rate:g}"
            )
        self._schedule.step(held_loss)
        spent = self._clock() - begun
        epochs = self._recipe.epochs
        return EpochMetrics(number, epochs, loss, accuracy, held_loss, held_accuracy, rate, spent)

    def _train(self, images: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor) -> tuple[float, float]:
        """Mean loss and accuracy as seen while the weights move."""
        self._network.train()
        loss_sum, right = 0.0, 0
        for rows in self._batches(len(labels)):
            if self._should_stop():
                raise TrainingStopped(
                    f"training of recipe '{self._recipe.name}' was asked to stop; start it again to go on"
                )
            batch = augment(_floats(images[rows]), self._recipe.augmentation, self._generator)
            logits = self._network(batch)
            loss = (functional.cross_entropy(logits, labels[rows], reduction="none") * counts[rows]).mean()
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self._optimizer.step()
            loss_sum += loss.item() * len(rows)
            right += int((logits.detach().argmax(1) == labels[rows]).sum())
        return loss_sum / len(labels), right / len(labels)

    def _validate(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        self._network.eval()
        with torch.inference_mode():
            logits = torch.cat([self._network(_floats(part)) for part in torch.split(images, CHECK_ROWS)])
            loss = float(functional.cross_entropy(logits, labels))
            return loss, float((logits.argmax(1) == labels).float().mean())

    def _batches(self, rows: int) -> Iterator[torch.Tensor]:
        order = torch.randperm(rows, generator=self._generator)
        parts = list(torch.split(order, self._recipe.batch_size))
        if len(parts) > 1 and len(parts[-1]) == 1:  # batch norm cannot train on a single row
            last = parts.pop()
            parts[-1] = torch.cat([parts[-1], last])
        yield from parts


@contextmanager
def _settings(threads: int, seed: int) -> Iterator[None]:
    """Threads and the global random state (dropout draws from it), put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def _check(train: ImageSet, validation: ImageSet, weights: NDArray[np.float32] | None) -> None:
    if len(train) < 2 or len(validation) < 1:
        raise DataError(
            f"'{train.name}' has {len(train)} rows and '{validation.name}' has {len(validation)}; "
            "give at least 2 to train on and 1 to validate on"
        )
    if weights is not None and weights.shape != (len(train),):
        raise DataError(f"'{train.name}' has {len(train)} rows and weights of shape {weights.shape}; give one each")


def _tensors(rows: ImageSet) -> Rows:
    return torch.from_numpy(rows.images.copy()).unsqueeze(1), torch.from_numpy(rows.labels.copy())


def _floats(images: torch.Tensor) -> torch.Tensor:
    return images.to(torch.float32).div_(255.0)
