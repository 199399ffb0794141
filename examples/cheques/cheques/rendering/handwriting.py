"""Handwritten amounts for rendered cheques: real scans of a folder's test part, or strings of bundled real digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipelines.data import split_by_hash
from pipelines.datasets.optdigits import load_optdigits
from pipelines.strings.amounts.amount_examples import DIGIT_FRACTIONS
from pipelines.strings.drawing.digit_glyphs import glyphs_of_digits
from pipelines.strings.drawing.synthetic_strings import synthetic_string
from pipelines.strings.string_examples import StringExample, load_string_folder, split_strings

LONGEST: Final = 9
PAPER_INK: Final = 0.45
"""Fainter ink of a drawn string is its paper."""


@dataclass(frozen=True, eq=False)
class WrittenAmount:
    """An amount as it stands in the field: ink, float32 (height, width) from 0 (paper) to 1, and its digits."""

    ink: NDArray[np.float32]
    text: str


AmountWriter = Callable[[np.random.Generator], WrittenAmount]


def amount_writer(folder: Path | None, part: str = "test") -> AmountWriter:
    """What writes amounts by chance: scans of one part of a folder in ORAND-CAR-A's form, or bundled digits."""
    return bundled_writer(part) if folder is None else scanned_writer(folder, part)


def bundled_writer(part: str = "test") -> AmountWriter:
    """Strings of the bundled digits, of those that neither train a model nor are golden rows (or that validate)."""
    digits = split_by_hash(load_optdigits(), DIGIT_FRACTIONS)
    glyphs = glyphs_of_digits(digits.validation if part == "validation" else digits.stream)

    def write(rng: np.random.Generator) -> WrittenAmount:
        drawn = synthetic_string(glyphs, rng)
        # The paper that is drawn with the string goes: the cheque has its own.
        strokes = ndimage.binary_dilation(drawn.ink > PAPER_INK, iterations=2)
        return WrittenAmount(np.where(strokes, drawn.ink, np.float32(0)), drawn.text)

    return write


def scanned_writer(folder: Path, part: str = "test") -> AmountWriter:
    """Scans of a folder's part, each of which comes once before any comes again."""
    examples = [example for example in getattr(split_strings(load_string_folder(folder)), part) if _fits(example)]
    order: list[int] = []

    def write(rng: np.random.Generator) -> WrittenAmount:
        if not order:
            order.extend(rng.permutation(len(examples)).tolist())
        example = examples[order.pop()]
        return WrittenAmount(ink_on_paper(example.picture), example.text)

    return write


def thick_marker(amount: WrittenAmount, breadth: float = 0.16) -> WrittenAmount:
    """The same amount written with a pen whose stroke is wider by this share of the writing's height."""
    scale = 3
    height, width = amount.ink.shape
    large = Image.fromarray(amount.ink).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    side = max(3, round(height * scale * breadth)) | 1
    rows, columns = np.mgrid[:side, :side] - side // 2
    disc = rows**2 + columns**2 <= (side // 2) ** 2
    wide = ndimage.grey_dilation(np.asarray(large), footprint=disc)
    small = Image.fromarray(wide.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return WrittenAmount(np.clip(np.asarray(small, np.float32), 0, 1), amount.text)


def ink_on_paper(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How dark each pixel of a scan is, as a share of its paper."""
    paper = max(float(np.median(picture)), 1.0)
    ink: NDArray[np.float32] = np.clip(1 - picture.astype(np.float32) / np.float32(paper), 0, 1)
    return ink


def _fits(example: StringExample) -> bool:
    return len(example.text) <= LONGEST
