"""Loads scikit-learn's bundled optical digits in the shape of MNIST."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples
from pipelines.image.image_examples import image_examples

SOURCE_SIDE, INK_SIDE, SIDE = 8, 20, 28
MARGIN = (SIDE - INK_SIDE) // 2
GREY_LEVELS = 16
FIXED_POINT_UNIT = 4096


def load_optdigits() -> Examples:
    """The 1 797 real scans of 8x8 pixels, enlarged smoothly to 20x20 and centred in 28x28, bright on dark."""
    # scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels: NDArray[np.int64] = bunch.target.astype(np.int64)
    return image_examples(_enlarge(bunch.images.astype(np.int64)), labels, "optdigits")


def _enlarge(small: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Whole numbers only, so that the pixels, and with them all content hashes, are the same everywhere."""
    weights = _cubic_weights()
    ink = weights @ small @ weights.T
    grey = np.clip(
        (ink * 255 + GREY_LEVELS * FIXED_POINT_UNIT * FIXED_POINT_UNIT // 2)
        // (GREY_LEVELS * FIXED_POINT_UNIT * FIXED_POINT_UNIT),
        0,
        255,
    )
    large = np.zeros((len(small), SIDE, SIDE), dtype=np.uint8)
    large[:, MARGIN : MARGIN + INK_SIDE, MARGIN : MARGIN + INK_SIDE] = grey
    return large


def _cubic_weights() -> NDArray[np.int64]:
    """How much each of 8 pixels gives to each of 20, in 4096ths: Catmull-Rom, beyond the edge the edge."""
    weights = np.zeros((INK_SIDE, SOURCE_SIDE), dtype=np.int64)
    for row in range(INK_SIDE):
        place = (row + 0.5) * SOURCE_SIDE / INK_SIDE - 0.5
        first = int(np.floor(place))
        for pixel in range(first - 1, first + 3):
            share = round(_catmull_rom(abs(place - pixel)) * FIXED_POINT_UNIT)
            weights[row, min(max(pixel, 0), SOURCE_SIDE - 1)] += share
    return weights


def _catmull_rom(distance: float) -> float:
    if distance < 1:
        return 1.5 * distance**3 - 2.5 * distance**2 + 1
    return -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
