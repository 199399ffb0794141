"""A simulated covariate shift: the same rows as a second scanner would see them, from a seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

ROTATION_DEGREES = 29.0
ROTATION_SD = 4.0
SHEAR = 0.17
BACKGROUND = 22.0
CONTRAST = 0.8
BLUR = 0.6
NOISE = 8.0


def simulate_scanner_shift(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The same paper on another device.

    It feeds the paper turned by about 29 degrees and slanted, its light is poor (dark grey ground, a little
    less contrast), its lens is a little soft and its sensor is noisy. Same images and seed, same answer.
    """
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(
            f"images of shape {images.shape} and type {images.dtype} cannot be scanned; give uint8 (n, h, w)"
        )
    generator = np.random.default_rng(seed)
    return np.stack([_scan_image(image, generator) for image in images]) if len(images) else images.copy()


def _scan_image(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    # scipy.ndimage takes a moment to import, and few callers change scanners.
    from scipy import ndimage

    turn = math.radians(ROTATION_DEGREES + generator.normal(0.0, ROTATION_SD))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = rotation @ np.array([[1.0, 0.0], [SHEAR, 1.0]])
    centre = (np.array(image.shape) - 1) / 2
    ink = ndimage.affine_transform(image.astype(np.float64), matrix, centre - matrix @ centre, order=1)
    grey = BACKGROUND + CONTRAST * ndimage.gaussian_filter(ink, BLUR)
    seen = grey + generator.normal(0.0, NOISE, image.shape)
    scanned: NDArray[np.uint8] = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    return scanned
