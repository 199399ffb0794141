"""Reads an archive of capital letters by known writers: NumPy's `.npz` with images, labels and writers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from pipelines.data import Examples
from pipelines.errors import CorruptDataError
from pipelines.image.image_examples import image_examples

ARCHIVE_FILE: Final = "letters_by_writer.npz"
SIDE: Final = 28
LETTERS: Final = 26
MAX_BYTES: Final = 256 * 2**20
ARRAYS: Final = ("images28", "labels", "writers")


def load_letter_archive(path: Path, first_class: int) -> Examples:
    """Every letter, bright on dark, 28x28, of class `first_class` for A, with its writer."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {each.filename.removesuffix(".npy"): each.file_size for each in archive.infolist()}
        if sum(sizes.get(name, 0) for name in ARRAYS) > MAX_BYTES:
            raise CorruptDataError(f"{path.name} unpacks to more than {MAX_BYTES} bytes")
        with np.load(path, allow_pickle=False) as archive:
            images, labels, writers = (archive[name] for name in ARRAYS)
    except CorruptDataError:
        raise
    except KeyError as error:
        raise CorruptDataError(f"{path.name} lacks the array {error}; it needs {', '.join(ARRAYS)}") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CorruptDataError(f"{path.name} is no whole archive of NumPy arrays: {error}") from error
    if images.shape != (len(images), SIDE, SIDE) or images.dtype != np.uint8:
        raise CorruptDataError(
            f"{path.name} has images of shape {images.shape} and {images.dtype}; give uint8 of (n, {SIDE}, {SIDE})"
        )
    if labels.shape != (len(images),) or writers.shape != labels.shape or not np.isin(labels, range(LETTERS)).all():
        raise CorruptDataError(
            f"{path.name} needs a label from 0 to {LETTERS - 1} and a writer for each of {len(images)} images; "
            f"it has {labels.shape} labels and {writers.shape} writers"
        )
    groups = tuple(f"letters/{writer}" for writer in writers.tolist())
    return image_examples(images, labels.astype(np.int64) + first_class, path.stem, groups=groups)
