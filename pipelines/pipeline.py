"""A pipeline: what its models take and answer, how its data are loaded and trained on, under one name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipelines.data import Examples, Split
from pipelines.errors import UnknownPipelineError
from pipelines.input_evaluation import InputEvaluation
from pipelines.recipe import Recipe
from pipelines.trainer import Trainer
from registry.model_contract import ModelContract

CARD_KEYS = (
    "intended_use",
    "out_of_scope",
    "factors",
    "training_data",
    "evaluation_data",
    "ethics",
    "caveats",
)
DEFAULT_RECIPE = Recipe(feedback_repeats=1)
"""Of a pipeline that names none: all rows there are, each once."""


def no_groups(_rows: Examples) -> Mapping[str, Sequence[str]]:
    """No groups: nothing says whose the rows are."""
    return {}


def no_external_datasets(_folder: Path | None) -> tuple[Examples, ...]:
    """No other data set of this kind."""
    return ()


def _default_recipes() -> Mapping[str, Recipe]:
    return {DEFAULT_RECIPE.name: DEFAULT_RECIPE}


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Everything that tells one pipeline from another: its contract, data, training and card texts."""

    name: str
    title: str
    contract: ModelContract
    """What its versions take and answer, as it is registered with each."""
    load: Callable[[Path | None], Split]
    trainer: Trainer
    evaluation: InputEvaluation
    """What reports and the gate ask of its kind of input."""
    card: Mapping[str, str]
    """Texts for the model card, one for each of CARD_KEYS."""
    recipes: Mapping[str, Recipe] = field(default_factory=_default_recipes)
    default_recipe: str = DEFAULT_RECIPE.name
    sensitive_groups: Callable[[Examples], Mapping[str, Sequence[str]]] = no_groups
    """What groups rows for fairness, such as the writer: a factor's name and a tag per row, "" where not known."""
    external_datasets: Callable[[Path | None], tuple[Examples, ...]] = no_external_datasets
    """Other data sets that only judge, found beside the pipeline's data; they show how far a model carries."""
    first_accuracy: float | None = None
    """What a first version's golden accuracy must surely reach; None: that of always naming the commonest class."""

    def __post_init__(self) -> None:
        self.recipe(self.default_recipe)
        missing = [key for key in CARD_KEYS if not self.card.get(key, "").strip()]
        if missing:
            raise UnknownPipelineError(f"pipeline '{self.name}' has no card text for {missing}; write it")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in the order of its models' probabilities."""
        return self.contract.classes

    @property
    def counted_names(self) -> tuple[str, ...]:
        """What answers and truths are counted as: classes, or lengths of texts."""
        return self.contract.counted_names

    def first_version_floor(self, golden: Examples) -> float:
        """What the accuracy of a first version on these rows must surely reach, a share."""
        if self.first_accuracy is not None or not len(golden):
            return self.first_accuracy or 0.0
        return float(np.unique(golden.labels, return_counts=True)[1].max() / len(golden))

    def recipe(self, name: str | None = None) -> Recipe:
        """The recipe of this name, or the default one."""
        wanted = self.default_recipe if name is None else name
        if wanted not in self.recipes:
            names = ", ".join(sorted(self.recipes))
            raise UnknownPipelineError(f"pipeline '{self.name}' has no recipe '{wanted}'; known: {names}")
        return self.recipes[wanted]


class UnreadPipeline(ABC):
    """A pipeline whose contract is known once its rows are read, as that of a table is."""

    @abstractmethod
    def with_rows(self, folder: Path | None) -> Pipeline:
        """The pipeline with the contract that the rows in this folder have; raises DataError."""
