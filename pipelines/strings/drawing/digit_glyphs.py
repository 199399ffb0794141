"""Single digits as ink, of which strings are made: from labelled pictures of digits, and from the boxes of strings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples, images_of
from pipelines.errors import DataError
from pipelines.strings.ink import ink_of
from pipelines.strings.string_alphabet import DIGITS
from pipelines.strings.string_examples import StringExample

VISIBLE: Final = 0.2
"""Ink that is darker belongs to a stroke."""

Ink = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DigitGlyphs:
    """For each digit, in order, its glyphs: float32 ink (height, width), cut to its strokes."""

    by_digit: tuple[tuple[Ink, ...], ...]

    def __post_init__(self) -> None:
        missing = [digit for digit, glyphs in zip(DIGITS, self.by_digit, strict=True) if not glyphs]
        if missing:
            raise DataError(f"no glyph of {', '.join(missing)}; give digits of all ten kinds")

    def draw(self, digit: str, rng: np.random.Generator) -> Ink:
        """One glyph of this digit, by chance."""
        glyphs = self.by_digit[int(digit)]
        return glyphs[int(rng.integers(len(glyphs)))]


def glyphs_of_digits(rows: Examples) -> DigitGlyphs:
    """The glyphs of single digits, bright on dark, such as MNIST's training images."""
    inks = images_of(rows.batch).astype(np.float32) / np.float32(255.0)
    return _by_digit((str(label), ink) for label, ink in zip(rows.labels.tolist(), inks, strict=True))


def glyphs_of_strings(examples: Iterable[StringExample]) -> DigitGlyphs:
    """The glyphs inside the boxes of strings, as their writers set them, with some of the paper around."""

    def boxed() -> Iterable[tuple[str, Ink]]:
        for example in examples:
            ink = ink_of(example.picture)
            for digit, (x, y, width, height) in zip(example.text, example.boxes.tolist(), strict=False):
                yield digit, ink[y : y + height, x : x + width]

    return _by_digit(boxed())


def _by_digit(labelled: Iterable[tuple[str, Ink]]) -> DigitGlyphs:
    found: dict[str, list[Ink]] = {digit: [] for digit in DIGITS}
    for digit, ink in labelled:
        glyph = cut_to_strokes(ink)
        if glyph.size:
            found[digit].append(glyph)
    return DigitGlyphs(tuple(tuple(found[digit]) for digit in DIGITS))


def cut_to_strokes(ink: Ink) -> Ink:
    """The smallest part that holds all visible ink; empty where there is none."""
    visible = ink > VISIBLE
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        return ink[:0, :0]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
