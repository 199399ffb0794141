"""Boxes on a picture, and pictures turned flat."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Quadrangle = NDArray[np.float32]
"""Four corners (4, 2) in x and y: top left, top right, bottom right, bottom left."""
WIDTH, HEIGHT = 1200, 540
"""A cheque that was turned flat: 8 by 3.6 inches at 150 dots an inch."""
ASPECT: Final = WIDTH / HEIGHT


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def grown(self, by: int, width: int, height: int) -> Box:
        """So many pixels larger on each side, within a picture of that size."""
        left, top = max(0, self.x - by), max(0, self.y - by)
        right, bottom = min(width, self.x + self.width + by), min(height, self.y + self.height + by)
        return Box(left, top, max(1, right - left), max(1, bottom - top))

    def cut(self, pixels: Pixels) -> Pixels:
        """This part of a picture."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]


def in_order(corners: NDArray[Any]) -> Quadrangle:
    """Four corners from the top left one, clockwise."""
    points = corners.reshape(4, 2).astype(np.float32)
    centre = points.mean(axis=0)
    angles = np.arctan2(points[:, 1] - centre[1], points[:, 0] - centre[0])
    clockwise = points[np.argsort(angles)]
    first = int(np.argmin(clockwise.sum(axis=1)))
    return np.roll(clockwise, -first, axis=0)


def flattened(pixels: Pixels, corners: Quadrangle) -> Pixels:
    """The quadrangle as a cheque of the usual size; one that stands is laid down."""
    width = np.linalg.norm(corners[1] - corners[0]) + np.linalg.norm(corners[2] - corners[3])
    height = np.linalg.norm(corners[3] - corners[0]) + np.linalg.norm(corners[2] - corners[1])
    lying = np.roll(corners, 1, axis=0) if height > width else corners
    target = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)
    homography = cv2.getPerspectiveTransform(lying.astype(np.float32), target)
    flat: Pixels = cv2.warpPerspective(pixels, homography, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    return flat


def half_turned(pixels: Pixels) -> Pixels:
    """The picture upside down."""
    return np.ascontiguousarray(pixels[::-1, ::-1])


def grey(pixels: Pixels) -> Pixels:
    """The greys of a picture (height, width, 3)."""
    converted: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return converted


def ink_mask(greys: Pixels, neighbourhood: int = 41, darker: int = 12) -> Pixels:
    """255 where a pixel is darker than what is around it, whatever the light."""
    smooth = cv2.GaussianBlur(greys, (0, 0), 0.8)
    mask: Pixels = cv2.adaptiveThreshold(
        smooth, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, neighbourhood, darker
    )
    return mask
