"""What a pipeline of your own is written with: `from mlplatform.pipeline import Pipeline, ...`.

One name that belongs to this product, so that a repository may have a folder `pipelines/` of its own.
"""

from pipelines.data import Examples, Split, images_of, split_by_group, split_by_hash
from pipelines.datasets.image_folder import load_image_folder
from pipelines.errors import DataError, MissingDataError
from pipelines.image.image_examples import image_examples
from pipelines.image_pipeline import image_pipeline
from pipelines.input_evaluation import InputEvaluation
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.recipe import Augmentation, NetworkRecipe, Recipe
from pipelines.table.table_pipeline import table
from pipelines.table.training_context import TrainingContext
from pipelines.trainer import EpochMetrics, TrainedModel, Trainer, TrainingRequest
from registry.model_contract import Column
from registry.prediction_task import Classification

__all__ = [
    "CARD_KEYS",
    "Augmentation",
    "Classification",
    "Column",
    "DataError",
    "EpochMetrics",
    "Examples",
    "InputEvaluation",
    "MissingDataError",
    "NetworkRecipe",
    "Pipeline",
    "Recipe",
    "Split",
    "TrainedModel",
    "Trainer",
    "TrainingContext",
    "TrainingRequest",
    "image_examples",
    "image_pipeline",
    "images_of",
    "load_image_folder",
    "split_by_group",
    "split_by_hash",
    "table",
]
