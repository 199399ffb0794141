"""Makes the pipeline of a classifier of grey pictures: a network trained by PyTorch, by recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipelines.data import Examples, Split
from pipelines.evaluation.image_evaluation import ImageEvaluation
from pipelines.pipeline import Pipeline, no_external_datasets, no_groups
from pipelines.recipe import NetworkRecipe
from pipelines.training.network_trainer import NetworkTrainer
from registry.model_contract import image_classifier

FIRST_ACCURACY: Final = 0.90
"""A classifier of pictures that reads fewer is no use to begin with."""


def image_pipeline(
    *,
    name: str,
    title: str,
    classes: tuple[str, ...],
    height: int,
    width: int,
    recipes: Mapping[str, NetworkRecipe],
    default_recipe: str,
    load: Callable[[Path | None], Split],
    card: Mapping[str, str],
    sensitive_groups: Callable[[Examples], Mapping[str, Sequence[str]]] = no_groups,
    external_datasets: Callable[[Path | None], tuple[Examples, ...]] = no_external_datasets,
) -> Pipeline:
    """The pipeline of grey pictures of height x width; `Pipeline` says what each value is."""
    return Pipeline(
        name=name,
        title=title,
        contract=image_classifier(classes, height, width),
        load=load,
        trainer=NetworkTrainer(),
        evaluation=ImageEvaluation(),
        card=card,
        recipes=recipes,
        default_recipe=default_recipe,
        sensitive_groups=sensitive_groups,
        external_datasets=external_datasets,
        first_accuracy=FIRST_ACCURACY,
    )
