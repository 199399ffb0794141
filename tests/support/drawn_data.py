"""Small data sets as files, such as pipelines load: drawn glyphs by folder, and arrays as IDX files."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def draw_glyphs(folder: Path, characters: str, each: int) -> None:
    """Dark glyphs on light paper, of several sizes, places and turns; a folder for each, named by its code."""
    generator = np.random.default_rng(0)
    for character in characters:
        place = folder / f"{ord(character):02x}"
        place.mkdir()
        for number in range(each):
            sheet = Image.new("L", (40, 40), 255)
            font = ImageFont.load_default(size=float(generator.integers(24, 31)))
            at = tuple(generator.uniform(-2, 2, 2) + 20)
            ImageDraw.Draw(sheet).text(at, character, fill=int(generator.integers(0, 60)), font=font, anchor="mm")
            turned = sheet.rotate(generator.uniform(-8, 8), Image.Resampling.BILINEAR, fillcolor=255)
            turned.save(place / f"{number:03d}.png")


def encode_idx(array: np.ndarray) -> bytes:
    """Bytes of an IDX file with this array in it."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()
