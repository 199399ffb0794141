"""A pipeline: classes, image size, recipes, and how its data are loaded, under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.data import ImageSet, Split
from pipelines.errors import UnknownPipelineError
from pipelines.recipe import Recipe
from registry.model_contract import ModelContract, image_classifier

CARD_KEYS = (
    "intended_use",
    "out_of_scope",
    "factors",
    "training_data",
    "evaluation_data",
    "ethics",
    "caveats",
)


def no_groups(_rows: ImageSet) -> Mapping[str, Sequence[str]]:
    """No groups: nothing says who wrote the rows."""
    return {}


def no_external_datasets(_folder: Path | None) -> tuple[ImageSet, ...]:
    """No other data set of this kind."""
    return ()


@dataclass(frozen=True)
class Pipeline:
    """Everything that tells one pipeline from another: its data, classes, recipes and card texts."""

    name: str
    title: str
    classes: tuple[str, ...]
    height: int
    width: int
    recipes: Mapping[str, Recipe]
    default_recipe: str
    load: Callable[[Path | None], Split]
    card: Mapping[str, str]
    """Texts for the model card, one for each of CARD_KEYS."""
    sensitive_groups: Callable[[ImageSet], Mapping[str, Sequence[str]]] = no_groups
    """What groups rows for fairness, such as the writer: a factor's name and a tag per row, "" where not known."""
    external_datasets: Callable[[Path | None], tuple[ImageSet, ...]] = no_external_datasets
    """Other data sets that only judge, found beside the pipeline's data; they show how far a model carries."""

    def __post_init__(self) -> None:
        self.recipe(self.default_recipe)
        missing = [key for key in CARD_KEYS if not self.card.get(key, "").strip()]
        if missing:
            raise UnknownPipelineError(f"pipeline '{self.name}' has no card text for {missing}; write it")

    @property
    def contract(self) -> ModelContract:
        """What its versions take and answer, as it is registered with each."""
        return image_classifier(self.classes, self.height, self.width)

    def recipe(self, name: str | None = None) -> Recipe:
        """The recipe of this name, or the default one."""
        wanted = self.default_recipe if name is None else name
        if wanted not in self.recipes:
            names = ", ".join(sorted(self.recipes))
            raise UnknownPipelineError(f"pipeline '{self.name}' has no recipe '{wanted}'; known: {names}")
        return self.recipes[wanted]
