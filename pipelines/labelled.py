"""A folder of labelled pictures, one folder of PNG files per class; refuses to know splits and models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipelines.data import ImageSet
from pipelines.errors import CorruptDataError, DataError, MissingDataError

MOST_PIXELS = 4096 * 4096


def load_labelled(
    folder: Path, classes: Mapping[str, int], *, height: int, width: int, dark_ink: bool = False
) -> ImageSet:
    """Every PNG file below `folder/CLASS/`, grey, fitted into height x width, in the order of names.

    `classes` says which class the pictures of a folder belong to; several folders may share one. `dark_ink` turns
    pictures of dark ink on light paper round, because models here read bright on dark.
    """
    if not folder.is_dir():
        raise MissingDataError(f"no data folder {folder}; give one that holds a folder of PNG files for each class")
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    strange = [path.name for path in found if path.name not in classes]
    if strange:
        raise CorruptDataError(
            f"{folder} holds the folders {strange[:5]}, which are no classes; known: {', '.join(sorted(classes))}"
        )
    pairs = [(path, classes[each.name]) for each in found for path in sorted(each.glob("*.png"))]
    if not pairs:
        raise MissingDataError(f"{folder} holds no PNG files; put them into folders named after their class")
    pixels = [_read(path, dark_ink) for path, _ in pairs]
    images = np.stack([fitted(image, height, width) for image in pixels])
    return ImageSet(images, np.array([label for _, label in pairs], dtype=np.int64), folder.name)


def fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A grey image (h, w) as large as height x width allows, in the middle, its proportions kept, dark around it."""
    if image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"an image of shape {image.shape} and type {image.dtype} fits nowhere; give uint8 (h, w)")
    if image.shape == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = (
        max(1, min(most, round(side * scale))) for side, most in zip(image.shape, (height, width), strict=True)
    )
    # Pillow scales bytes in whole numbers, so that pixels, and with them content hashes, are the same everywhere.
    scaled = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    whole = np.zeros((height, width), dtype=np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    whole[top : top + rows, left : left + columns] = np.asarray(scaled)
    return whole


def all_fitted(images: ImageSet, height: int, width: int) -> ImageSet:
    """A whole set, each image fitted into height x width."""
    if images.images.shape[1:] == (height, width):
        return images
    pixels = np.zeros((len(images), height, width), dtype=np.uint8)
    for row, image in enumerate(images.images):
        pixels[row] = fitted(image, height, width)
    return ImageSet(pixels, images.labels, images.name, writers=images.writers)


def _read(path: Path, dark_ink: bool) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise CorruptDataError(
                    f"{path} has {picture.width}x{picture.height} pixels; the limit is {MOST_PIXELS}"
                )
            pixels: NDArray[np.uint8] = np.asarray(picture.convert("L"), dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise CorruptDataError(f"{path} is not a whole PNG file: {error}; replace it or take it away") from error
    return 255 - pixels if dark_ink else pixels
