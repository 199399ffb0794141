"""Small, seeded rows and recipes that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipelines.data import ImageSet
from pipelines.recipe import Augmentation, Recipe

TINY = Recipe(
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


def draw_bars(rows: int, seed: int, side: int = 12) -> ImageSet:
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
    return ImageSet(images, labels, f"bars-{seed}")


@pytest.fixture
def tiny() -> Recipe:
    return replace(TINY)


@pytest.fixture
def bars() -> Callable[[int, int], ImageSet]:
    return draw_bars
