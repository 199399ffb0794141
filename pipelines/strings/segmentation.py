"""The baseline: cuts a string into digits by connected strokes and narrow places, each for a classifier of digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipelines.strings.ink import ink_of

THRESHOLD: Final = 0.5
"""Darker ink is a stroke."""
LOW_SHARE: Final = 0.45
"""Strokes that are lower than this share of the tallest ones are dots and dashes."""
FLAT_RATIO: Final = 4.0
"""Strokes that many times wider than high are printed rules."""
WIDEST_DIGIT: Final = 1.2
"""Width by height; what is wider is touching digits, and is cut at its narrowest place."""
DIGIT_SIDE, CANVAS_SIDE = 20, 28

Span = tuple[int, int, int, int]
"""First row, end row, first column, end column."""


def segment_digits(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The digits of a scanned string from left to right, each as MNIST has them: uint8 (n, 28, 28), bright on dark."""
    ink = ink_of(picture)
    pieces = [piece for span in _strokes(ink > THRESHOLD) for piece in _cut_wide(ink, span)]
    if not pieces:
        return np.zeros((0, CANVAS_SIDE, CANVAS_SIDE), np.uint8)
    return np.stack([_as_digit(ink[top:bottom, left:right]) for top, bottom, left, right in sorted(pieces, key=_left)])


def read_by_segments(
    picture: NDArray[np.uint8], classify: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> tuple[str, float]:
    """The text of a scanned string, and the product of its digits' probabilities; `classify` gives (n, 10)."""
    digits = segment_digits(picture)
    if not len(digits):
        return "", 0.0
    probabilities = classify(digits)
    return "".join(str(digit) for digit in probabilities.argmax(axis=1)), float(probabilities.max(axis=1).prod())


def _strokes(mask: NDArray[np.bool_]) -> list[Span]:
    """Connected strokes that may be digits; those one above the other are one."""
    labelled, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    spans = [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in ndimage.find_objects(labelled)]
    spans = [span for span in spans if span[3] - span[2] < FLAT_RATIO * (span[1] - span[0])]
    tallest = max((span[1] - span[0] for span in spans), default=0)
    tall = [span for span in spans if span[1] - span[0] >= LOW_SHARE * tallest]
    return _joined(sorted(tall, key=_left))


def _left(span: Span) -> int:
    return span[2]


def _joined(spans: list[Span]) -> list[Span]:
    """Strokes that share more than half of the narrower one's columns belong to one digit."""
    joined: list[Span] = []
    for span in spans:
        if joined:
            last = joined[-1]
            shared = min(last[3], span[3]) - max(last[2], span[2])
            if shared * 2 > min(last[3] - last[2], span[3] - span[2]):
                joined[-1] = (min(last[0], span[0]), max(last[1], span[1]), last[2], max(last[3], span[3]))
                continue
        joined.append(span)
    return joined


def _cut_wide(ink: NDArray[np.float32], span: Span) -> list[Span]:
    """The span, or its two halves, cut again where they are still too wide, at the column with least ink."""
    top, bottom, left, right = span
    width = right - left
    if width <= WIDEST_DIGIT * (bottom - top) or width < 8:
        return [span]
    third = width // 4
    columns = ink[top:bottom, left + third : right - third].sum(axis=0)
    at = left + third + int(columns.argmin())
    return [*_cut_wide(ink, (top, bottom, left, at)), *_cut_wide(ink, (top, bottom, at, right))]


def _as_digit(ink: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Fitted into 20x20, set on 28x28 by its centre of mass."""
    scale = DIGIT_SIDE / max(ink.shape)
    size = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
    grey = Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR)
    fitted = np.clip(np.asarray(grey, np.float32), 0, 1)
    total = max(float(fitted.sum()), 1e-6)
    middle = [float((fitted.sum(axis=1 - axis) * np.arange(fitted.shape[axis])).sum() / total) for axis in (0, 1)]
    top, left = (
        int(np.clip(round(CANVAS_SIDE / 2 - place), 0, CANVAS_SIDE - side))
        for place, side in zip(middle, fitted.shape, strict=True)
    )
    canvas = np.zeros((CANVAS_SIDE, CANVAS_SIDE), np.float32)
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return (canvas * 255).astype(np.uint8)
