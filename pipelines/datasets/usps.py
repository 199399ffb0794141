"""Reads USPS's zip-code digits in the shape of MNIST.

One row of the gzipped text is a label and 256 numbers from -1 (white) to 1 (ink), as in Hastie, Tibshirani and
Friedman, "The Elements of Statistical Learning".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples
from pipelines.datasets.idx_files import gunzip_bounded
from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.image.image_examples import image_examples

SOURCE_SIDE, INK_SIDE, SIDE = 16, 20, 28
MARGIN = (SIDE - INK_SIDE) // 2
CLASSES = 10
FILES = ("zip.train.gz", "zip.test.gz")


def load_usps(folder: Path) -> tuple[Examples, Examples]:
    """The train and the test set of a folder with both files."""
    train, test = (read_usps(folder / name) for name in FILES)
    return train, test


def read_usps(path: Path) -> Examples:
    """One file, each 16x16 digit enlarged to 20x20 in the middle of 28x28, bright on dark."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingDataError(f"no data file {path}; run 'platform data fetch usps'") from error
    table = _parse_table(gunzip_bounded(raw, path.name), path.name)
    labels = table[:, 0].astype(np.int64)
    if (labels != table[:, 0]).any() or labels.min() < 0 or labels.max() >= CLASSES:
        raise CorruptDataError(f"{path.name} holds a label that is no whole number from 0 to {CLASSES - 1}")
    ink = table[:, 1:]
    if np.abs(ink).max() > 1:
        raise CorruptDataError(f"{path.name} holds the grey {ink.flat[np.abs(ink).argmax()]:g}; greys go from -1 to 1")
    return image_examples(
        _enlarge(ink.reshape(-1, SOURCE_SIDE, SOURCE_SIDE)), labels, f"usps/{path.name.split('.')[1]}"
    )


def _parse_table(content: bytes, name: str) -> NDArray[np.float64]:
    try:
        rows = [[float(word) for word in line.split()] for line in content.decode("ascii").splitlines() if line.strip()]
    except ValueError as error:
        raise CorruptDataError(f"{name} is no text of numbers: {error}; fetch it again") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != 1 + SOURCE_SIDE * SOURCE_SIDE:
            raise CorruptDataError(
                f"row {number} of {name} has {len(row)} numbers, not a label and "
                f"{SOURCE_SIDE * SOURCE_SIDE} greys; fetch it again"
            )
    if not rows:
        raise CorruptDataError(f"{name} holds no row; fetch it again")
    return np.array(rows, dtype=np.float64)


def _enlarge(small: NDArray[np.float64]) -> NDArray[np.uint8]:
    # scipy.ndimage takes a moment to import, and only this data set needs it.
    from scipy import ndimage

    scale = INK_SIDE / SOURCE_SIDE
    inked = ndimage.zoom((small + 1) * 127.5, (1, scale, scale), order=1)
    whole = np.zeros((len(inked), SIDE, SIDE), dtype=np.uint8)
    whole[:, MARGIN : MARGIN + INK_SIDE, MARGIN : MARGIN + INK_SIDE] = np.clip(np.rint(inked), 0, 255).astype(np.uint8)
    return whole
