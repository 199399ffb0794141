"""Puts a string's picture on the canvas that a server keeps, and takes it off again.

A model takes pictures of one size, bright ink on dark, fitted into it with their proportions kept. What lies around is
wholly dark, so a scan comes back as it was, but for its size; of white paper the margins beside the ink go.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.image.image_decoding import fit_to_canvas

HEIGHT, WIDTH = 48, 384
BRIGHT: Final = 127
MIN_SIDE: Final = 4
"""What is left of a picture is at least so high and wide: an empty one is read as an empty field."""


def to_canvas(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture (height, width), ink dark on light, as a server decodes it: uint8 (HEIGHT, WIDTH)."""
    inverted = np.subtract(np.uint8(255), picture)
    if inverted.shape == (HEIGHT, WIDTH):
        return inverted
    return fit_to_canvas(Image.fromarray(inverted), HEIGHT, WIDTH)


def from_canvas(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture on a canvas, ink dark on light, without what is wholly dark around it.

    A picture fills its canvas in height or in width: rows are cut only where it fills the width. Of a picture whose
    ground is bright a server did not see that it shows ink on paper; it is taken as it is.
    """
    columns = np.flatnonzero(canvas.any(axis=0))
    if not len(columns):
        return np.full(canvas.shape, 255, np.uint8)
    left, right = _at_least(int(columns[0]), int(columns[-1]) + 1, canvas.shape[1])
    top, bottom = 0, canvas.shape[0]
    if left == 0 and right == canvas.shape[1]:
        rows = np.flatnonzero(canvas.any(axis=1))
        top, bottom = _at_least(int(rows[0]), int(rows[-1]) + 1, canvas.shape[0])
    shown = canvas[top:bottom, left:right]
    return shown if np.median(shown) > BRIGHT else np.subtract(np.uint8(255), shown)


def _at_least(first: int, end: int, side: int) -> tuple[int, int]:
    """The span, widened to MIN_SIDE within the side."""
    missing = max(0, MIN_SIDE - (end - first))
    first = max(0, first - (missing + 1) // 2)
    return first, min(side, max(end, first + MIN_SIDE))
