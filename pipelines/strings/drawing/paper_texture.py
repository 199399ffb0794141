"""Draws what lies under and beside handwriting: printed lines, dots and rules, and marks that are no digits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Ink = NDArray[np.float32]

MARKS: Final = (".", ",", "-", "=", "*", "#", "/", ":")
_STROKES: Final = {
    ".": (((0.0, 0.95), (0.08, 1.0)),),
    ",": (((0.08, 0.85), (0.0, 1.1)),),
    ":": (((0.0, 0.5), (0.06, 0.55)), ((0.0, 0.95), (0.06, 1.0))),
    "-": (((0.0, 0.55), (0.5, 0.5)),),
    "=": (((0.0, 0.45), (0.5, 0.4)), ((0.0, 0.65), (0.5, 0.6))),
    "/": (((0.3, 0.0), (0.0, 1.0)),),
    "*": (((0.2, 0.3), (0.2, 0.8)), ((0.0, 0.4), (0.4, 0.7)), ((0.0, 0.7), (0.4, 0.4))),
    "#": (
        ((0.2, 0.1), (0.1, 0.9)),
        ((0.45, 0.1), (0.35, 0.9)),
        ((0.0, 0.35), (0.6, 0.35)),
        ((0.0, 0.65), (0.55, 0.65)),
    ),
}
"""Lines from (x, y) to (x, y), in heights of a digit, from its top left."""


def draw_mark(
    canvas: Ink, mark: str, x: float, top: float, height: float, stroke: float, rng: np.random.Generator
) -> float:
    """Draw a mark that is no digit with its left edge at x, in place; returns where it ends."""
    image = Image.fromarray(np.zeros(canvas.shape, np.uint8))
    pen, right = ImageDraw.Draw(image), 0.0
    for line in _STROKES[mark]:
        points = [(x + (a + rng.normal(0, 0.03)) * height, top + (b + rng.normal(0, 0.03)) * height) for a, b in line]
        pen.line(points, fill=int(rng.integers(180, 256)), width=max(1, round(stroke)))
        right = max(right, *(a for a, _ in points))
    np.maximum(canvas, np.asarray(image, np.float32) / np.float32(255.0), out=canvas)
    return right + stroke


def texture(height: int, width: int, rng: np.random.Generator) -> Ink:
    """Printed paper, from nothing to a third as dark as ink: waves, hatching or a grid of dots, grain and rules."""
    kind = int(rng.integers(5))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    period, angle = rng.uniform(3, 9), rng.uniform(-1.2, 1.2)
    along = columns * np.sin(angle) + rows * np.cos(angle)
    bend = np.sin(columns / rng.uniform(6, 40) + rng.uniform(0, 6)) * rng.uniform(0, 6)
    printed = np.zeros((height, width), np.float32)
    if kind in (1, 2):
        printed = _lines(along + bend * (kind == 2), period)
    elif kind == 3:
        across = columns * np.cos(angle) - rows * np.sin(angle)
        printed = np.maximum(_lines(along + bend, period), _lines(across - bend, period * rng.uniform(0.8, 2)))
    elif kind == 4:
        printed = _lines(columns, period) * _lines(rows, period)
    printed = printed * np.float32(rng.uniform(0.05, 0.4))
    grain = rng.normal(0, rng.uniform(0.01, 0.09), (height, width)).astype(np.float32)
    paper = printed + grain
    for _ in range(int(rng.integers(3)) if rng.random() < 0.5 else 0):
        _rule(paper, rng)
    return paper


def _lines(phase: NDArray[np.float32], period: float) -> Ink:
    lines: Ink = np.clip(np.cos(phase * np.float32(2 * np.pi / period)), 0, 1).astype(np.float32)
    return lines


def _rule(paper: Ink, rng: np.random.Generator) -> None:
    """A printed line near the upper or the lower edge, sloping by a pixel or two."""
    height, width = paper.shape
    share = rng.uniform(0.0, 0.12) if rng.random() < 0.3 else rng.uniform(0.78, 1.0)
    columns = np.arange(width)
    at = np.clip(share * height + columns * rng.normal(0, 0.01), 0, height - 2).astype(int)
    dark = np.float32(rng.uniform(0.2, 0.8))
    for row in range(int(rng.integers(1, 3))):
        place = np.minimum(at + row, height - 1)
        paper[place, columns] = np.maximum(paper[place, columns], dark)
