"""Makes unlimited strings of single digits: touching, overlapping, dotted, starred, on printed paper."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.strings.drawing.digit_glyphs import DigitGlyphs
from pipelines.strings.drawing.paper_texture import MARKS, draw_mark, texture
from pipelines.strings.drawing.written_string import WrittenString

LENGTH_SHARES: Final = (0.02, 0.06, 0.14, 0.28, 0.32, 0.13, 0.05)
"""Of strings of 1, 2, ... 7 digits."""
ROUND_SHARE: Final = 0.35
"""Of amounts that end in zeros."""
DOTTED_SHARE: Final = 0.5
"""Of strings with a dot or a comma before each three digits."""


def synthetic_text(rng: np.random.Generator) -> str:
    """An amount: no zero in front, the usual lengths, a third of them round."""
    length = 1 + int(rng.choice(len(LENGTH_SHARES), p=LENGTH_SHARES))
    digits = [str(rng.integers(1, 10)), *(str(digit) for digit in rng.integers(0, 10, length - 1))]
    if length > 1 and rng.random() < ROUND_SHARE:
        zeros = int(rng.integers(1, length))
        digits[length - zeros :] = "0" * zeros
    return "".join(digits)


def synthetic_string(glyphs: DigitGlyphs, rng: np.random.Generator, text: str | None = None) -> WrittenString:
    """One string by chance, or this text written by chance; the same state of `rng` gives the same picture."""
    written = synthetic_text(rng) if text is None else text
    height = int(rng.integers(42, 66))
    size = height * rng.uniform(0.45, 0.8)
    canvas = np.zeros((height, int(len(written) * size * 1.9 + 5 * size)), np.float32)
    pen = _Pen(canvas, size, rng)
    if rng.random() < 0.12:
        pen.mark(str(rng.choice(("*", "#", "=", "-"))))
    dotted, spans = rng.random() < DOTTED_SHARE, []
    for place, digit in enumerate(written):
        if dotted and place and (len(written) - place) % 3 == 0:
            pen.mark(str(rng.choice((".", ".", ","))))
        spans.append(pen.glyph(glyphs.draw(digit, rng)))
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 0):
        pen.mark(str(rng.choice(MARKS)))
    width = min(canvas.shape[1], int(pen.x + rng.uniform(0, 0.6) * size) + 1)
    ink = np.clip(canvas[:, :width] * rng.uniform(0.75, 1.0) + texture(height, width, rng), 0, 1)
    return WrittenString(ink.astype(np.float32), written, np.array(spans, np.float32))


class _Pen:
    """Where the writer is on the canvas, and how even the hand is."""

    def __init__(self, canvas: NDArray[np.float32], size: float, rng: np.random.Generator) -> None:
        self._canvas, self._size, self._rng = canvas, size, rng
        self.x = rng.uniform(0, 0.4) * size
        self._base = canvas.shape[0] * rng.uniform(0.75, 1.0)
        self._climb = rng.normal(0, 0.02)
        self._gap, self._unevenness = rng.normal(0.1, 0.12), rng.uniform(0.02, 0.12)
        self._breadth = rng.uniform(0.8, 1.25)

    def glyph(self, glyph: NDArray[np.float32]) -> tuple[float, float]:
        """Write one digit; returns its first and its last column."""
        rng, unevenness = self._rng, self._unevenness
        height = max(6, round(self._size * (1 + rng.normal(0, unevenness))))
        proportion = glyph.shape[1] / glyph.shape[0] * self._breadth * (1 + rng.normal(0, unevenness))
        width = int(np.clip(height * proportion, 2, 1.5 * height))
        drawn = np.asarray(Image.fromarray(glyph).resize((width, height), Image.Resampling.BILINEAR))
        left = int(np.clip(self.x, 0, self._canvas.shape[1] - width))
        lowest = max(0, self._canvas.shape[0] - height)
        top = int(np.clip(self._base - height + self._climb * left + rng.normal(0, 0.06) * height, 0, lowest))
        part = self._canvas[top : top + height, left : left + width]
        np.maximum(part, drawn[: part.shape[0]], out=part)
        self.x = max(self.x, left + width + (self._gap + rng.normal(0, unevenness)) * self._size)
        return float(left), float(left + width)

    def mark(self, mark: str) -> None:
        """Write one mark that is no digit."""
        rng = self._rng
        size = self._size * rng.uniform(0.7, 1.0)
        stroke = rng.uniform(1.5, 4.0)
        top = self._base - size + rng.normal(0, 0.05) * size
        self.x += rng.uniform(0, 0.1) * self._size
        self.x = draw_mark(self._canvas, mark, self.x, top, size, stroke, rng) + rng.uniform(0.0, 0.15) * self._size
