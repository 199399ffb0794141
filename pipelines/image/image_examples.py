"""Labelled grey pictures as rows to train and judge with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import Examples, image_batch, image_rows, images_of
from pipelines.errors import DataError
from pipelines.input_row import InputRow


def image_examples(
    images: NDArray[np.uint8], labels: NDArray[np.int64], name: str, *, groups: tuple[str, ...] = ()
) -> Examples:
    """Grey pictures, uint8 (n, height, width), each with the index of its class, (n,), and whose each is, if known."""
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(
            f"images of '{name}' have shape {images.shape} and type {images.dtype}; "
            "give uint8 of shape (n, height, width)"
        )
    return Examples(image_batch(images), labels, name, rows_of_images, groups=groups)


def rows_of_images(batch: Batch) -> list[InputRow]:
    """The pictures of these rows, each in its canonical form."""
    return image_rows(images_of(batch))
