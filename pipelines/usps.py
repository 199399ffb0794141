"""USPS's digits from envelopes, a second population to judge on; refuses to know models and to train on them.

Hull, "A Database for Handwritten Text Recognition Research" (1994), in the form of Hastie, Tibshirani and Friedman:
one row per digit, its label and 16x16 greys from -1 (ground) to 1 (ink), gzipped.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data import ImageSet
from pipelines.errors import CorruptDataError, MissingDataError

TEST_FILE = "zip.test.gz"
SIDE = 16
BOX = 20
MOST_BYTES = 64 * 1024 * 1024


def load_usps(path: Path, *, side: int = 28) -> ImageSet:
    """The digits of one file, each enlarged to MNIST's box of 20 pixels in the middle of side x side.

    Raises MissingDataError without the file, CorruptDataError where it is something else.
    """
    if not path.is_file():
        raise MissingDataError(f"no file {path}; give the gzipped text of USPS's digits")
    try:
        with gzip.open(path, "rb") as file:
            text = file.read(MOST_BYTES + 1)
        table = np.array([line.split() for line in text.decode("ascii").splitlines() if line.strip()], dtype=np.float64)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise CorruptDataError(f"{path.name} is not USPS's text of numbers: {error}; fetch it again") from error
    if len(text) > MOST_BYTES or table.ndim != 2 or table.shape[1] != 1 + SIDE * SIDE:
        raise CorruptDataError(f"{path.name} has rows of shape {table.shape[1:]}; USPS has a label and 256 greys each")
    labels, greys = table[:, 0], table[:, 1:]
    if np.abs(greys).max() > 1 or not np.isin(labels, range(10)).all():
        raise CorruptDataError(f"{path.name} has labels or greys outside 0 to 9 and -1 to 1; fetch it again")
    pixels = np.rint((greys + 1) * 127.5).astype(np.uint8).reshape(-1, SIDE, SIDE)
    return ImageSet(np.stack([_enlarged(each, side) for each in pixels]), labels.astype(np.int64), "usps")


def _enlarged(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    sheet = np.zeros((side, side), dtype=np.uint8)
    box = BOX * side // 28
    edge = (side - box) // 2
    large = Image.fromarray(picture).resize((box, box), Image.Resampling.BILINEAR)
    sheet[edge : edge + box, edge : edge + box] = np.asarray(large)
    return sheet
