"""Finds the printed code line on a flat cheque, and reads it by comparing each character with the font's glyphs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cheques.code_line import ALPHABET, LENGTH
from cheques.rendering.printing import glyph
from cheques.vision.geometry import Box, Pixels, ink_mask

BAND: Final = (0.80, 0.985)
"""Of a cheque's height, where the line is sought."""
HEIGHTS: Final = (13, 40)
"""Pixels that its characters are high."""
CELL: Final = (24, 32)
"""Width and height in which a character is compared."""
LEAST_SIMILAR: Final = 0.55
UNREADABLE: Final = "?"


@dataclass(frozen=True)
class PrintedLine:
    """What was read of a printed line, `?` where no glyph is similar, and where it stands."""

    text: str
    box: Box


def read_code_line(greys: Pixels) -> PrintedLine | None:
    """The line of printed characters at the foot of a cheque; None where there is none."""
    height, width = greys.shape
    top, bottom = round(BAND[0] * height), round(BAND[1] * height)
    band = greys[top:bottom]
    mask = ink_mask(band, neighbourhood=51, darker=18)
    row = _row_of_characters(_character_boxes(mask))
    if len(row) < LENGTH // 2:
        return None
    text = "".join(_similar_character(box.cut(band)) for box in row)
    left, upper = row[0].x, min(box.y for box in row)
    right, lower = row[-1].x + row[-1].width, max(box.y + box.height for box in row)
    whole = Box(left, upper + top, right - left, lower - upper)
    return PrintedLine(text, whole.grown(6, width, height))


def _character_boxes(mask: Pixels) -> list[Box]:
    """What has a character's size; the strokes of characters are joined upwards, and characters stay apart."""
    joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 1), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    boxes = [Box(*map(int, stats[at, :4])) for at in range(1, count)]
    return sorted(box for box in boxes if HEIGHTS[0] <= box.height <= HEIGHTS[1] and 4 <= box.width <= 1.3 * HEIGHTS[1])


def _row_of_characters(boxes: Sequence[Box]) -> list[Box]:
    """The longest row of boxes of like height on one line, from left to right."""
    best: list[Box] = []
    for seed in boxes:
        middle = seed.y + seed.height / 2
        row = [
            box
            for box in boxes
            if abs(box.y + box.height / 2 - middle) < 0.45 * seed.height and 0.6 < box.height / seed.height < 1.6
        ]
        if len(row) > len(best):
            best = row
    return _without_strays(best)


def _without_strays(row: list[Box]) -> list[Box]:
    """The row without what stands far away from its neighbours, such as a speck in the margin."""
    if len(row) < 3:
        return row
    middles = np.array([box.x + box.width / 2 for box in row])
    pitch = float(np.median(np.diff(middles)))
    kept, parts = [row[0]], []
    for before, box in itertools.pairwise(row):
        if (box.x + box.width / 2) - (before.x + before.width / 2) > 3 * pitch:
            parts.append(kept)
            kept = []
        kept.append(box)
    return max([*parts, kept], key=len)


def _similar_character(part: Pixels) -> str:
    """The character whose glyph correlates best with a printed one; `?` where none does."""
    seen = _normalised(255 - part)
    similarities = {character: float((seen * shape).sum()) for character, shape in _glyphs().items()}
    best = max(similarities, key=lambda character: similarities[character])
    return best if similarities[best] >= LEAST_SIMILAR else UNREADABLE


@cache
def _glyphs() -> dict[str, NDArray[np.float32]]:
    """What each character looks like once it was printed, photographed and cut out."""
    return {character: _normalised(cv2.GaussianBlur(glyph(character), (0, 0), 2.0)) for character in ALPHABET}


def _normalised(ink: Pixels) -> NDArray[np.float32]:
    """A character in a cell, its proportions kept, so that its mean is 0 and its length 1."""
    height, width = ink.shape
    scale = min((CELL[0] - 4) / width, (CELL[1] - 4) / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cell = np.full((CELL[1], CELL[0]), float(ink.min()), np.float32)
    x, y = (CELL[0] - size[0]) // 2, (CELL[1] - size[1]) // 2
    cell[y : y + size[1], x : x + size[0]] = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
    cell -= cell.mean()
    normalised: NDArray[np.float32] = cell / max(float(np.linalg.norm(cell)), 1e-6)
    return normalised
