"""What a report, a model card and the gate ask of a kind of input, beyond what identifies it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import Examples
from pipelines.engines.inference_engine import InferenceEngine
from registry.model_contract import ModelContract
from registry.prediction_task import Task

Drawing = Callable[[], bytes]
"""Gives a PNG; drawing takes a while, so it is left until the picture is kept."""


class Disturbance(NamedTuple):
    """Rows as they are under one kind of disturbance at one level."""

    kind: str
    level: float
    batch: Batch


@dataclass(frozen=True)
class RobustnessScore:
    """How many of the rows were answered right under one kind of harm at one level (or epsilon)."""

    kind: str
    level: float
    correct: int
    rows: int
    changed: int | None = None
    """How many rows are answered otherwise than they are without harm, where that was counted."""

    @property
    def accuracy(self) -> float:
        """Share of rows answered right."""
        return self.correct / self.rows

    @property
    def metric_name(self) -> str:
        """Its stable name for a tracking server, without a prefix."""
        return metric_name(f"{self.kind}_{self.level:g}".replace(" ", "_").replace(".", "p"))


@dataclass(frozen=True)
class ColumnImportance:
    """What a model loses when the values of one column are dealt to other rows."""

    column: str
    added_loss: float
    """How much the mean loss (0 to 1) rises; below 0 where luck made it fall."""
    low: float
    high: float
    """95 % limits for all columns together; equal, and of these rows only, where each deal added the same."""
    changed_share: float
    """Of the answers, how many become another class."""


@dataclass(frozen=True)
class PartialDependence:
    """The mean probability of each class over some rows, when one column has the same value in all of them."""

    column: str
    values: tuple[str, ...]
    """The values, as people read them."""
    positions: tuple[float, ...] | None
    """The same as numbers; None for values that have no order."""
    probabilities: NDArray[np.float64]
    """Of shape (values, classes)."""


@dataclass(frozen=True)
class ColumnEffects:
    """What the columns of a table do to a model's answers, the columns that matter most first."""

    importance: tuple[ColumnImportance, ...]
    dependence: tuple[PartialDependence, ...]
    rows: int
    repeats: int
    """How often each column was dealt anew."""
    blocks: int | None
    """How many stretches of time the limits count as single observations; None: rows are single observations."""


def metric_name(name: str) -> str:
    """A name that a tracking server takes."""
    return re.sub(r"[^\w-]", "_", name)  # a column may be called anything


def distinct_metric_names(names: Mapping[str, str], reserved: Collection[str] = ()) -> Mapping[str, str]:
    """The metric's name of each thing, given the one it would have alone: where two would meet, with a digest of it.

    A thing whose name needs no change keeps it, so names depend on no order.
    """
    counts = Counter(names.values())
    return {
        name: f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        if plain in reserved or (counts[plain] > 1 and name != plain)
        else plain
        for name, plain in names.items()
    }


@dataclass(frozen=True)
class CardTexts:
    """What a model card says of a kind of input."""

    tag: str
    """The task, as model hubs name it."""
    row: str
    """What one row is called."""
    answered: str
    """What is done with it: an image is read, a row is answered."""
    robustness: str
    """How the rows of the robustness table were disturbed."""
    no_groups: str
    """Said where nothing is known by which rows could be grouped."""


class InputEvaluation(Protocol):
    """One kind of input; it holds no state."""

    @property
    def texts(self) -> CardTexts:
        """What the model card says of this kind of input."""

    def describe(self, contract: ModelContract) -> str:
        """What one row of these inputs is, in a line of the model card."""

    def mild_disturbances(self, batch: Batch) -> Iterable[Disturbance]:
        """The rows under disturbances that a model should bear; the gate compares both models on them."""

    def severe_disturbances(self, batch: Batch) -> Iterable[Disturbance]:
        """The rows under grave disturbances; the gate tells them, and they decide nothing."""

    def robustness(self, engine: InferenceEngine, golden: Examples) -> tuple[RobustnessScore, ...]:
        """What is left of the accuracy under each kind of harm, on some golden rows."""

    def column_effects(
        self, engine: InferenceEngine, golden: Examples, contract: ModelContract
    ) -> ColumnEffects | None:
        """What each column does to the answers to some golden rows; None for inputs that have no columns."""

    def sample_figure(
        self, rows: Examples, label: Callable[[int], str], answers: Sequence[str] | None
    ) -> Drawing | None:
        """Draws the first rows with their truth and, where given, what a model answered; None for no picture.

        `label` names the number of a truth.
        """

    def confusion_figure(
        self, rows: Examples, answers: NDArray[np.int64], pairs: Sequence[tuple[int, int, int]], classes: Sequence[str]
    ) -> Drawing | None:
        """Draws rows of each confused pair (truth, answer, rows); None for no picture."""

    def profile_figures(self, rows: Examples, task: Task) -> Mapping[str, Drawing]:
        """Draw what the rows look like, by name."""
