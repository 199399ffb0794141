"""Finds where a cheque may lie in a picture: bright quadrangles, and the whole picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from cheques.vision.geometry import ASPECT, Pixels, Quadrangle, grey, in_order

WORK_SIDE: Final = 900
"""The longer side of the picture in which outlines are sought."""
MIN_SHARE: Final = 0.12
"""Of the picture, what a cheque covers at least."""
ASPECTS: Final = (ASPECT * 0.6, ASPECT * 1.6)


def cheque_outlines(pixels: Pixels) -> Iterator[Quadrangle]:
    """Quadrangles that may be a cheque, the likeliest first, the whole picture last."""
    height, width = pixels.shape[:2]
    scale = min(1.0, WORK_SIDE / max(height, width))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    seen: list[Quadrangle] = []
    for mask in _masks(small):
        for corners in _quadrangles(mask):
            if not any(np.abs(corners - other).max() < 8 for other in seen):
                seen.append(corners)
                yield corners / np.float32(scale)
    yield np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


def _masks(small: Pixels) -> Iterator[Pixels]:
    """Where there may be paper: brighter than Otsu's threshold, in greys and in distance from the edge's colour."""
    blurred = cv2.GaussianBlur(small, (0, 0), 2.5)
    greys = grey(blurred)
    yield _closed(cv2.threshold(greys, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1])
    edge = np.concatenate([blurred[:6].reshape(-1, 3), blurred[-6:].reshape(-1, 3)])
    distance = np.linalg.norm(blurred.astype(np.float32) - np.median(edge, axis=0), axis=2)
    away = np.clip(distance, 0, 255).astype(np.uint8)
    yield _closed(cv2.threshold(away, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1])
    edges = cv2.Canny(greys, 25, 75)
    yield cv2.dilate(edges, np.ones((3, 3), np.uint8))


def _closed(mask: Pixels) -> Pixels:
    """The mask without holes that writing leaves, or bright grain around."""
    kernel = np.ones((9, 9), np.uint8)
    closed: Pixels = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    return closed


def _quadrangles(mask: Pixels) -> Iterator[Quadrangle]:
    """The outlines of large parts of a mask that have four corners and about a cheque's proportions."""
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    least = MIN_SHARE * mask.shape[0] * mask.shape[1]
    for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:4]:
        hull = cv2.convexHull(contour)
        if cv2.contourArea(hull) < least:
            continue
        corners = _four_corners(hull)
        if corners is not None and _has_proportions(corners):
            yield corners


def _four_corners(hull: Pixels) -> Quadrangle | None:
    perimeter = cv2.arcLength(hull, closed=True)
    for tolerance in (0.01, 0.02, 0.03, 0.05):
        corners = cv2.approxPolyDP(hull, tolerance * perimeter, closed=True)
        if len(corners) == 4:
            return in_order(corners)
    return None


def _has_proportions(corners: Quadrangle) -> bool:
    sides = [float(np.linalg.norm(corners[at] - corners[at - 1])) for at in range(4)]
    first, second = sides[0] + sides[2], sides[1] + sides[3]
    return ASPECTS[0] < max(first, second) / max(min(first, second), 1.0) < ASPECTS[1]
