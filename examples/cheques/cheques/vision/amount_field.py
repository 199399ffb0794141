"""Finds the framed field of the courtesy amount on a flat cheque, and the digits in it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from cheques.vision.geometry import Box, Pixels, ink_mask

REGION: Final = (0.5, 0.12, 0.5, 0.5)
"""Where on a cheque the field is sought: left, top, width and height, as shares of it."""
ASPECTS: Final = (2.2, 7.0)
HEIGHTS: Final = (0.07, 0.24)
"""Of a cheque's height, how high the field is."""
FRAME_MARGIN: Final = 9
"""Pixels from the outer edge of the frame's line to where writing may begin."""
INK_MARGIN: Final = 2
LEAST_STROKE: Final = 12
"""Pixels that a stroke has at least; what is smaller is grain."""


def find_amount_frame(greys: Pixels) -> Box | None:
    """The frame of printed lines in the right half of a cheque; None where there is none."""
    height, width = greys.shape
    region = Box(
        round(REGION[0] * width), round(REGION[1] * height), round(REGION[2] * width), round(REGION[3] * height)
    )
    lines = _printed_lines(ink_mask(region.cut(greys)))
    contours, _ = cv2.findContours(lines, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    frames = [Box(*map(int, cv2.boundingRect(contour))) for contour in contours if _is_frame(contour, height)]
    if not frames:
        return None
    best = max(frames, key=lambda frame: frame.width * frame.height)
    return Box(best.x + region.x, best.y + region.y, best.width, best.height)


def find_writing(greys: Pixels, frame: Box) -> Box | None:
    """What is written within the frame, with a little paper around; None of an empty field."""
    inside = frame.grown(-FRAME_MARGIN, greys.shape[1], greys.shape[0])
    if inside.width < 8 or inside.height < 8:
        return None
    mask = _strokes(inside.cut(greys))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    tight = Box(inside.x + left, inside.y + top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)
    within = tight.grown(INK_MARGIN, greys.shape[1], greys.shape[0])
    right, bottom = (
        min(within.x + within.width, inside.x + inside.width),
        min(within.y + within.height, inside.y + inside.height),
    )
    x, y = max(within.x, inside.x), max(within.y, inside.y)
    return Box(x, y, right - x, bottom - y)


def digit_places(greys: Pixels, writing: Box, digits: int) -> tuple[tuple[Box, ...], bool]:
    """A box for each digit from left to right, and whether strokes were found for each: else the width is shared."""
    if not digits:
        return (), False
    part = writing.cut(greys)
    mask = _strokes(part)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    tall = [Box(*map(int, stats[at, :4])) for at in range(1, count) if stats[at, 3] >= 0.4 * part.shape[0]]
    merged = _merged(sorted(tall))
    if len(merged) == digits:
        return tuple(Box(writing.x + box.x, writing.y + box.y, box.width, box.height) for box in merged), True
    edges = np.linspace(0, writing.width, digits + 1).round().astype(int).tolist()
    spans = itertools.pairwise(edges)
    return tuple(Box(writing.x + a, writing.y, max(1, b - a), writing.height) for a, b in spans), False


def _printed_lines(mask: Pixels) -> Pixels:
    """Only long straight strokes, across and down: writing goes, frames stay."""
    across = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, 45), np.uint8))
    down = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((25, 1), np.uint8))
    lines: Pixels = cv2.dilate(across | down, np.ones((3, 3), np.uint8))
    return lines


def _is_frame(contour: Pixels, height: int) -> bool:
    """Whether a closed line has a field's size and proportions and encloses most of its box."""
    box = Box(*map(int, cv2.boundingRect(contour)))
    if not HEIGHTS[0] * height <= box.height <= HEIGHTS[1] * height:
        return False
    encloses = cv2.contourArea(contour) > 0.8 * box.width * box.height
    return bool(encloses and ASPECTS[0] <= box.width / box.height <= ASPECTS[1])


def _strokes(part: Pixels) -> Pixels:
    """255 where there is a pen's stroke: dark against the paper of the whole field, and no grain."""
    smooth = cv2.GaussianBlur(part, (0, 0), 0.8)
    paper = float(np.median(smooth))
    threshold = min(cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0], paper - 20)
    dark = (smooth < threshold).astype(np.uint8) * 255
    count, marks, stats, _ = cv2.connectedComponentsWithStats(dark)
    kept = [at for at in range(1, count) if stats[at, cv2.CC_STAT_AREA] >= LEAST_STROKE]
    mask: Pixels = np.isin(marks, kept).astype(np.uint8) * 255
    return mask


def _merged(boxes: Sequence[Box]) -> list[Box]:
    """Boxes of which one lies mostly over the other's columns are one digit, such as the bar of a five."""
    merged: list[Box] = []
    for box in boxes:
        last = merged[-1] if merged else None
        if last is not None and last.x + last.width - box.x > 0.5 * min(last.width, box.width):
            right = max(last.x + last.width, box.x + box.width)
            top, bottom = min(last.y, box.y), max(last.y + last.height, box.y + box.height)
            merged[-1] = Box(last.x, top, right - last.x, bottom - top)
        else:
            merged.append(box)
    return merged
