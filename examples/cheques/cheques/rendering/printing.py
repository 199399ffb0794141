"""Prints text on pictures with the fonts that come with Matplotlib, and knows the code line's glyphs."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CODE_FONT, TEXT_FONT, BOLD_FONT, HAND_FONT = (
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
)
GLYPH_SIZE: Final = 64


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of Matplotlib's, found without importing it."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise FileNotFoundError("Matplotlib is not installed, and its fonts print the cheques; pip install matplotlib")
    return ImageFont.truetype(str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)


def glyph(character: str, size: int = GLYPH_SIZE) -> NDArray[np.uint8]:
    """One character of the code line, ink bright on dark, cut to its strokes."""
    canvas = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(canvas).text((size // 2, size // 4), character, fill=255, font=font(CODE_FONT, size))
    box = canvas.getbbox()
    return np.asarray(canvas.crop(box), dtype=np.uint8)
