"""Reads labelled images from a folder that holds one folder of PNG or JPEG files per class, as DIDA does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data import Examples, images_of
from pipelines.errors import CorruptDataError, DataError, MissingDataError
from pipelines.image.image_decoding import MIN_COUNTED_SIDE, ImageDecodeError, Polarity, decode_image, parse_header
from pipelines.image.image_examples import image_examples

MAX_PIXELS = 4096 * 4096
SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_SIDE = MAX_PIXELS // MIN_COUNTED_SIDE


def load_image_folder(
    folder: Path, classes: Mapping[str, int], *, height: int, width: int, polarity: Polarity = "auto"
) -> Examples:
    """Every PNG and JPEG file below `folder/CLASS/`, grey, fitted into height x width, in the order of names.

    `classes` says which class the images of a folder belong to; several folders may share one. Images become what
    a server makes of them, bright ink on dark ground, so that a model is asked for what it learnt from.
    """
    if not folder.is_dir():
        raise MissingDataError(
            f"no data folder {folder}; give one that holds a folder of PNG or JPEG files for each class"
        )
    class_folders = sorted(path for path in folder.iterdir() if path.is_dir())
    strange = [path.name for path in class_folders if path.name not in classes]
    if strange:
        raise CorruptDataError(
            f"{folder} holds the folders {strange[:5]}, which are no classes; known: {', '.join(sorted(classes))}"
        )
    pairs = [
        (path, classes[named.name])
        for named in class_folders
        for path in sorted(named.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    if not pairs:
        raise MissingDataError(f"{folder} holds no PNG or JPEG files; put them into folders named after their class")
    images = np.stack([_read_image(path, polarity, height, width) for path, _ in pairs])
    return image_examples(images, np.array([label for _, label in pairs], dtype=np.int64), folder.name)


def fit_to_canvas(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
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


def fit_all_to_canvas(images: Examples, height: int, width: int) -> Examples:
    """A whole set, each image fitted into height x width."""
    if images_of(images.batch).shape[1:] == (height, width):
        return images
    pixels = np.zeros((len(images), height, width), dtype=np.uint8)
    for row, image in enumerate(images_of(images.batch)):
        pixels[row] = fit_to_canvas(image, height, width)
    return image_examples(pixels, images.labels, images.name, groups=images.groups)


def _read_image(path: Path, polarity: Polarity, height: int, width: int) -> NDArray[np.uint8]:
    try:
        header = parse_header(path.read_bytes())
        if header.width * header.height > MAX_PIXELS or max(header.width, header.height) > MAX_SIDE:
            raise CorruptDataError(
                f"{path} has {header.width}x{header.height} pixels; the limit is {MAX_PIXELS}, a side of {MAX_SIDE}"
            )
        return decode_image(header, polarity, height, width)
    except (ImageDecodeError, OSError) as error:
        raise CorruptDataError(
            f"{path} is no whole PNG or JPEG file: it {error}; replace it or take it away"
        ) from error
