"""Turns a scanned string into ink of one height: 0 where there is paper, about 1 where there is a pen's stroke."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import DataError

HEIGHT: Final = 32
STRETCH: Final = 1.25
"""How much wider a picture becomes than its proportions: narrow digits need columns of their own."""
MIN_WIDTH, MAX_WIDTH = 32, 512
MARGIN: Final = 8
"""Columns of paper added on both sides, so that a stroke at the edge is seen whole."""
INK_PERCENTILE: Final = 1.0
MIN_CONTRAST: Final = 24.0
"""Greys between paper and ink; where a picture has less, its noise is not stretched until it is ink."""


def ink_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How dark each pixel is between paper, the picture's median, and ink, its darkest hundredth; from 0 to 1."""
    if picture.ndim != 2 or picture.dtype != np.uint8 or not picture.size:
        raise DataError(f"a picture of shape {picture.shape} and type {picture.dtype}; give grey uint8 (height, width)")
    paper = float(np.median(picture))
    contrast = max(paper - float(np.percentile(picture, INK_PERCENTILE)), MIN_CONTRAST)
    ink: NDArray[np.float32] = np.clip((paper - picture.astype(np.float32)) / np.float32(contrast), 0.0, 1.0)
    return ink


def to_height(ink: NDArray[np.float32], width_factor: float = 1.0) -> NDArray[np.float32]:
    """The ink at the network's height, its width in proportion times STRETCH, with a margin on both sides."""
    width = round(ink.shape[1] * HEIGHT / ink.shape[0] * STRETCH * width_factor)
    width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    resized = Image.fromarray(ink).resize((width, HEIGHT), Image.Resampling.BILINEAR)
    return np.pad(np.asarray(resized, dtype=np.float32), ((0, 0), (MARGIN, MARGIN)))


def network_input(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture as the network takes it: float32 (1, 1, HEIGHT, width)."""
    return to_height(ink_of(picture))[None, None]
