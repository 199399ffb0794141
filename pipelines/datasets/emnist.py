"""Reads EMNIST's digits and letters, which are IDX files of images turned on their side.

The names are `emnist-SPLIT-SIDE-images-idx3-ubyte.gz`, as in the archive `gzip.zip` of NIST, and the classes of a split
are numbered as its file of mappings says (Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np

from pipelines.data import Examples, images_of
from pipelines.datasets.idx_files import IMAGES_SUFFIX, LABELS_SUFFIX, find_file, load_idx_files
from pipelines.errors import CorruptDataError
from pipelines.image.image_examples import image_examples

Part = Literal["digits", "balanced"]
CHARACTERS: Final[Mapping[Part, str]] = {
    "digits": "0123456789",
    "balanced": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt",
}
"""What each number of a split stands for; small letters that look like their capitals share its class."""


def has_emnist(folder: Path, part: Part, side: str = "test") -> bool:
    """Whether a folder holds the images of this split."""
    return any((folder / f"{_stem(part, side)}{IMAGES_SUFFIX}{end}").is_file() for end in ("", ".gz"))


def load_emnist(folder: Path, part: Part, classes: Mapping[str, int], side: str = "test") -> Examples:
    """One side of a split, upright, bright on dark, 28x28; `classes` gives the class of each character."""
    paths = [find_file(folder, f"{_stem(part, side)}{end}", "emnist") for end in (IMAGES_SUFFIX, LABELS_SUFFIX)]
    known = CHARACTERS[part]
    rows = load_idx_files(paths[0], paths[1], f"emnist/{part}-{side}", len(known))
    unnamed = sorted(set(known) - set(classes))
    if unnamed:
        raise CorruptDataError(f"EMNIST's '{part}' has the characters {''.join(unnamed)}, which are no classes here")
    images = np.ascontiguousarray(images_of(rows.batch).transpose(0, 2, 1))
    numbers = np.array([classes[character] for character in known], dtype=np.int64)
    return image_examples(images, numbers[rows.labels], rows.name)


def _stem(part: Part, side: str) -> str:
    return f"emnist-{part}-{side}-"
