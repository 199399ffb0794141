"""Small, seeded rows and recipes that the tests of this room share."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipelines.data import Examples
from pipelines.image.image_examples import image_examples
from pipelines.recipe import Augmentation, NetworkRecipe

TINY = NetworkRecipe(
    name="tiny",
    channels=(4, 8),
    hidden=16,
    dropout=0.1,
    epochs=3,
    batch_size=16,
    learning_rate=5e-3,
    weight_decay=0.0,
    patience=3,
    plateau_patience=1,
    augmentation=Augmentation(rotation=5.0, shift=1.0, zoom=0.05, shear=2.0),
)


def draw_bars(rows: int, seed: int, side: int = 12) -> Examples:
    """Images of a bright bar, upright (class 0) or lying (class 1), on noise."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 60, (rows, side, side), dtype=np.uint8)
    labels = generator.integers(0, 2, rows).astype(np.int64)
    for image, label in zip(images, labels, strict=True):
        at = int(generator.integers(3, side - 4))
        if label:
            image[at : at + 2, 2:-2] = 230
        else:
            image[2:-2, at : at + 2] = 230
    return image_examples(images, labels, f"bars-{seed}")


@pytest.fixture
def tiny() -> NetworkRecipe:
    return replace(TINY)


@pytest.fixture
def bars() -> Callable[[int, int], Examples]:
    return draw_bars


Images = NDArray[np.uint8]


def seen_again(images: Images, seed: int) -> Images:
    """The images moved by up to 2 pixels, turned by up to 3 degrees, in other light, noisy and compressed again."""
    generator = np.random.default_rng(seed)
    return np.stack([_seen_again(image, generator) for image in images])


def _seen_again(image: Images, generator: np.random.Generator) -> Images:
    turned = ndimage.rotate(image.astype(float), generator.uniform(-3, 3), reshape=False, order=1)
    moved = ndimage.shift(turned, generator.uniform(-2, 2, 2), order=1)
    lit = moved * generator.uniform(0.8, 1.1) + generator.uniform(0, 20)
    noisy = lit + generator.normal(0, generator.uniform(0, 5), image.shape)
    buffer = io.BytesIO()
    whole = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    Image.fromarray(whole).save(buffer, "JPEG", quality=int(generator.integers(75, 96)))
    return np.asarray(Image.open(buffer), dtype=np.uint8)
