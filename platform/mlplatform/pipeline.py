"""What a pipeline of your own is written with: `from mlplatform.pipeline import Pipeline, ...`.

One name that belongs to this product, so that a repository may have a folder `pipelines/` of its own.
"""

from pipelines.data import ImageSet, Split, split_by_hash, split_by_writer
from pipelines.datasets.image_folder import load_image_folder
from pipelines.errors import DataError, MissingDataError
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.recipe import Augmentation, Recipe

__all__ = [
    "CARD_KEYS",
    "Augmentation",
    "DataError",
    "ImageSet",
    "MissingDataError",
    "Pipeline",
    "Recipe",
    "Split",
    "load_image_folder",
    "split_by_hash",
    "split_by_writer",
]
