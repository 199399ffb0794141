"""Takes a picture of a drawn cheque: perspective, light, blur, noise and JPEG, as a telephone or a scanner leaves them.

Angles are those of a camera that is turned about the cheque's own axes; a scanner only turns it in its plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """How a picture is taken: turns in degrees, blur as a standard deviation in pixels, greys of noise and light."""

    turn: float = 0.0
    tilt: float = 0.0
    pan: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    shade: float = 0.0
    quality: int = 90
    size: tuple[int, int] = (1600, 1000)
    share: float = 0.86
    """Of the picture's width that the cheque takes."""
    upside_down: bool = False


def telephone_shot(rng: np.random.Generator, most_degrees: float = 8.0) -> Shot:
    """A photograph by hand."""
    turn, tilt, pan = rng.uniform(-most_degrees, most_degrees, 3).tolist()
    return Shot(
        turn=turn,
        tilt=tilt,
        pan=pan,
        blur=float(rng.uniform(0.3, 1.3)),
        noise=float(rng.uniform(1, 6)),
        shade=float(rng.uniform(0, 45)),
        quality=int(rng.integers(60, 93)),
        share=float(rng.uniform(0.78, 0.9)),
    )


def scanner_shot(rng: np.random.Generator) -> Shot:
    """A scan: flat, hardly turned, with a little of the lid around it."""
    return Shot(
        turn=float(rng.uniform(-3, 3)),
        blur=float(rng.uniform(0.3, 0.7)),
        noise=float(rng.uniform(0, 3)),
        quality=int(rng.integers(75, 95)),
        size=(1320, 660),
        share=0.9,
    )


def photograph(cheque: Pixels, shot: Shot, rng: np.random.Generator) -> bytes:
    """The JPEG of a cheque (height, width, 3) on a table."""
    width, height = shot.size
    table = _table(height, width, rng)
    homography = cv2.getPerspectiveTransform(_corners(cheque), _projected(cheque, shot))
    lying = cv2.warpPerspective(cheque, homography, (width, height), flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.full(cheque.shape[:2], 255, np.uint8), homography, (width, height))
    share = mask.astype(np.float32)[..., None] / 255
    shadow = cv2.GaussianBlur(np.roll(mask, (6, 8), (0, 1)), (0, 0), 9).astype(np.float32)[..., None] / 255
    seen = table * (1 - 0.35 * shadow * (1 - share)) * (1 - share) + lying.astype(np.float32) * share
    seen = _lit(seen, shot.shade, rng)
    if shot.blur > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), shot.blur)
    seen = seen + rng.normal(0, 1, seen.shape).astype(np.float32) * shot.noise
    pixels = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    if shot.upside_down:
        pixels = np.ascontiguousarray(pixels[::-1, ::-1])
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=shot.quality)
    return file.getvalue()


def _corners(cheque: Pixels) -> NDArray[np.float32]:
    height, width = cheque.shape[:2]
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


def _projected(cheque: Pixels, shot: Shot) -> NDArray[np.float32]:
    """Where the cheque's corners are seen by a camera two and a half cheques away."""
    corners = _corners(cheque) - _corners(cheque)[2] / 2
    length = float(cheque.shape[1])
    turn, tilt, pan = np.deg2rad([shot.turn, shot.tilt, shot.pan])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_y = np.array([[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]])
    solid = np.column_stack([corners, np.zeros(4)]) @ (about_z @ about_x @ about_y).T
    distance = 2.5 * length
    flat = solid[:, :2] * (distance / (distance + solid[:, 2:]))
    scale = shot.size[0] * shot.share / max(np.ptp(flat[:, 0]), np.ptp(flat[:, 1]) * shot.size[0] / shot.size[1])
    centred: NDArray[np.float32] = (flat * scale + np.array(shot.size) / 2).astype(np.float32)
    return centred


def _table(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A table top with some grain, darker than paper."""
    colour = np.array([rng.uniform(50, 120), rng.uniform(45, 105), rng.uniform(40, 100)], np.float32)
    grain = rng.normal(0, 1, (max(1, height // 4), max(1, width // 40))).astype(np.float32)
    grown = np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))
    return colour + (7 * grown + rng.normal(0, 2, (height, width)))[..., None].astype(np.float32)


def _lit(pixels: NDArray[np.float32], shade: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """The picture under light that falls off to one side by so many greys of white."""
    height, width = pixels.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    along = np.cos(angle) * columns / width + np.sin(angle) * rows / height
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    lit: NDArray[np.float32] = pixels * (1 - shade / 255 * along)[..., None].astype(np.float32)
    return lit
