"""Reads SVHN's cropped house numbers, photographs of 32x32 in MATLAB files, in the shape of MNIST.

A file holds `X`, uint8 of shape (32, 32, 3, n), and `y`, (n, 1), in which 10 stands for the digit 0 (Netzer et al.,
"Reading Digits in Natural Images with Unsupervised Feature Learning", 2011).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data import Examples
from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.image.image_decoding import ink_on_dark
from pipelines.image.image_examples import image_examples

SOURCE_SIDE, SIDE = 32, 28
CLASSES = 10
ZERO: Final = 10
"""The label of the digit 0."""
MAX_IMAGES: Final = 100_000
TEST_FILE: Final = "test_32x32.mat"


def read_svhn(path: Path) -> Examples:
    """One file; each photograph grey and 28x28, the digit brighter than its ground, as a server reads one."""
    if not path.is_file():
        raise MissingDataError(f"no data file {path}; run 'platform data fetch svhn'")
    pixels, labels = _read_arrays(path)
    images = np.stack([ink_on_dark(Image.fromarray(each).convert("L"), "auto", SIDE, SIDE) for each in pixels])
    return image_examples(images, labels, f"svhn/{path.name.partition('_')[0]}")


def _read_arrays(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The photographs, (n, 32, 32, 3), and the digits of a file, whose shapes are read before its contents."""
    # SciPy takes a moment to import, and only this data set needs it.
    from scipy import io

    try:
        shapes = {name: shape for name, shape, _ in io.whosmat(path)}
        count = shapes.get("X", (0,))[-1]
        if shapes.get("X") != (SOURCE_SIDE, SOURCE_SIDE, 3, count) or shapes.get("y") != (count, 1):
            raise CorruptDataError(
                f"{path.name} holds {shapes}; SVHN's cropped digits are X of {SOURCE_SIDE}x{SOURCE_SIDE}x3xn, y of nx1"
            )
        if not 0 < count <= MAX_IMAGES:
            raise CorruptDataError(f"{path.name} holds {count} images; 1 to {MAX_IMAGES} are read")
        arrays = io.loadmat(path, variable_names=("X", "y"))
    except CorruptDataError:
        raise
    except Exception as error:  # SciPy raises anything on a broken file; all mean one thing
        raise CorruptDataError(f"{path.name} is no whole MATLAB file: {str(error)[:200]}; fetch it again") from error
    pixels, labels = arrays["X"], arrays["y"].ravel()
    if pixels.dtype != np.uint8 or not np.isin(labels, range(1, ZERO + 1)).all():
        raise CorruptDataError(
            f"{path.name} holds pixels of {pixels.dtype} and labels from {labels.min()} to {labels.max()}; "
            f"SVHN's are uint8, and 1 to {ZERO}"
        )
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels.astype(np.int64) % CLASSES
