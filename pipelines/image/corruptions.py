"""Corrupts images at stated levels, for robustness tables and for the gate.

After Hendrycks and Dietterich (ICLR 2019) and MNIST-C (Mu and Gilmer, 2019), for small grey digits. What is drawn at
random follows from an image's own content, so a table can be made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data import content_hash
from pipelines.errors import DataError

Images = NDArray[np.uint8]
FloatImages = NDArray[np.float64]

SEVERITIES: Final[dict[str, tuple[float, float, float]]] = {
    "noise": (25.0, 50.0, 75.0),
    "blur": (1 / 28, 1.5 / 28, 2 / 28),
    "shift": (2 / 28, 3 / 28, 4 / 28),
    "rotation": (10.0, 20.0, 30.0),
    "contrast": (0.5, 0.3, 0.15),
    "occlusion": (5 / 28, 8 / 28, 11 / 28),
    "thin strokes": (1 / 3, 2 / 3, 1.0),
    "thick strokes": (1 / 3, 2 / 3, 1.0),
}
"""Noise: standard deviation of 255. Blur: standard deviation in image heights. Shift and occlusion: share of height
and width. Rotation: degrees, either way. Contrast: the share that is left. Strokes: how far towards the thinnest or
thickest 3x3 neighbour."""
MILD_SHIFT: Final = 1 / 14
"""Share of the image's height and width."""
MILD_NOISE: Final = 25.0
MILD_BLUR: Final = 1 / 28
"""Standard deviation in image heights."""
MILD_CONTRAST: Final = 0.5


def corrupt(images: Images, kind: str, level: int) -> Images:
    """The images (n, height, width) under one kind at level 1, 2 or 3; raises DataError for any other."""
    if kind not in SEVERITIES or level not in (1, 2, 3):
        raise DataError(
            f"corruption {kind!r} at level {level} is not known; kinds: {', '.join(SEVERITIES)}; levels 1 to 3"
        )
    if not len(images):
        return images
    draws = [np.random.default_rng(int(content_hash(image)[:16], 16)) for image in images]
    changed = _CORRUPTIONS[kind](images.astype(np.float64), SEVERITIES[kind][level - 1], draws)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _noise(images: FloatImages, amount: float, draws: list[np.random.Generator]) -> FloatImages:
    return images + np.stack([draw.normal(0.0, amount, images.shape[1:]) for draw in draws])


def _blur(images: FloatImages, amount: float, _draws: list[np.random.Generator]) -> FloatImages:
    from scipy import ndimage  # takes a moment to import

    width = amount * images.shape[1]
    blurred: FloatImages = ndimage.gaussian_filter(images, (0, width, width), mode="nearest")
    return blurred


def _shift(images: FloatImages, amount: float, draws: list[np.random.Generator]) -> FloatImages:
    """A step in each direction, either way; the ground's black fills the gap."""
    _, height, width = images.shape
    down, right = max(1, round(amount * height)), max(1, round(amount * width))
    padded = np.pad(images, ((0, 0), (down, down), (right, right)))
    shifted_images = []
    for image, draw in zip(padded, draws, strict=True):
        rows, columns = draw.choice([0, 2 * down]), draw.choice([0, 2 * right])
        shifted_images.append(image[rows : rows + height, columns : columns + width])
    return np.stack(shifted_images)


def _rotation(images: FloatImages, amount: float, draws: list[np.random.Generator]) -> FloatImages:
    from scipy import ndimage  # takes a moment to import

    rotated_images = [
        ndimage.rotate(image, float(draw.choice([-amount, amount])), reshape=False, order=1)
        for image, draw in zip(images, draws, strict=True)
    ]
    return np.stack(rotated_images)


def _contrast(images: FloatImages, amount: float, _draws: list[np.random.Generator]) -> FloatImages:
    means = images.mean(axis=(1, 2), keepdims=True)
    flattened: FloatImages = means + amount * (images - means)
    return flattened


def _occlusion(images: FloatImages, amount: float, draws: list[np.random.Generator]) -> FloatImages:
    """A black square on the middle two thirds, where the ink is."""
    _, height, width = images.shape
    down, right = max(1, round(amount * height)), max(1, round(amount * width))
    occluded = images.copy()
    for image, draw in zip(occluded, draws, strict=True):
        row = int(draw.integers(height // 6, max(height // 6 + 1, height - height // 6 - down + 1)))
        column = int(draw.integers(width // 6, max(width // 6 + 1, width - width // 6 - right + 1)))
        image[row : row + down, column : column + right] = 0
    return occluded


def _thin_strokes(images: FloatImages, amount: float, _draws: list[np.random.Generator]) -> FloatImages:
    from scipy import ndimage  # takes a moment to import

    thinnest: FloatImages = ndimage.grey_erosion(images, size=(1, 3, 3))
    return images + amount * (thinnest - images)


def _thick_strokes(images: FloatImages, amount: float, _draws: list[np.random.Generator]) -> FloatImages:
    from scipy import ndimage  # takes a moment to import

    thickest: FloatImages = ndimage.grey_dilation(images, size=(1, 3, 3))
    return images + amount * (thickest - images)


_CORRUPTIONS: Final[dict[str, Callable[[FloatImages, float, list[np.random.Generator]], FloatImages]]] = {
    "noise": _noise,
    "blur": _blur,
    "shift": _shift,
    "rotation": _rotation,
    "contrast": _contrast,
    "occlusion": _occlusion,
    "thin strokes": _thin_strokes,
    "thick strokes": _thick_strokes,
}


def mild_corruptions(images: Images) -> dict[str, Images]:
    """Each kind and the images (n, height, width) under it.

    What is drawn, noise and the way to shift, follows from an image's own content: the same image is always corrupted
    alike, in whatever order and company.
    """
    draws = [np.random.default_rng(int(content_hash(image)[:16], 16)) for image in images]
    directions = np.array([draw.choice([-1, 1], 2) for draw in draws], dtype=np.int64).reshape(-1, 2)
    noise = np.array([draw.normal(0.0, MILD_NOISE, images.shape[1:]) for draw in draws]).reshape(images.shape)
    means = images.mean(axis=(1, 2), keepdims=True)
    return {
        "blur": _mild_blur(images),
        "contrast": _to_pixels(means + MILD_CONTRAST * (images - means)),
        "noise": _to_pixels(images + noise),
        "shift": _mild_shift(images, directions),
    }


def _mild_blur(images: Images) -> Images:
    # scipy.ndimage takes a moment to import, and only the gate corrupts images.
    from scipy import ndimage

    width = MILD_BLUR * images.shape[1]
    return _to_pixels(ndimage.gaussian_filter(images.astype(np.float64), (0, width, width), mode="nearest"))


def _mild_shift(images: Images, directions: NDArray[np.int64]) -> Images:
    """The images moved by (down, right) times MILD_SHIFT; the edge's pixels fill the gap."""
    _, height, width = images.shape
    steps = directions * np.maximum(1, np.rint(MILD_SHIFT * np.array([height, width])).astype(np.int64))
    rows = np.clip(np.arange(height) - steps[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) - steps[:, 1:], 0, width - 1)
    shifted_images: Images = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return shifted_images


def _to_pixels(values: NDArray[np.float64]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
