"""Pictures disturbed in fixed ways, to see what a model bears; refuses to know labels, models and training.

The kinds follow Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), each at one mild strength.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.data import content_hash

SHIFT = 1 / 14
"""Of the picture's height and width."""
NOISE = 25.0
BLUR = 1 / 28
"""Standard deviation in picture heights."""
CONTRAST = 0.5

Images = NDArray[np.uint8]


def disturbed(images: Images) -> dict[str, Images]:
    """Each kind and the images (n, height, width) under it.

    What is drawn, noise and the way to shift, follows from an image's own content: the same image is always disturbed
    alike, in whatever order and company.
    """
    draws = [np.random.default_rng(int(content_hash(image)[:16], 16)) for image in images]
    ways = np.array([draw.choice([-1, 1], 2) for draw in draws], dtype=np.int64).reshape(-1, 2)
    grain = np.array([draw.normal(0.0, NOISE, images.shape[1:]) for draw in draws]).reshape(images.shape)
    means = images.mean(axis=(1, 2), keepdims=True)
    return {
        "blur": _blurred(images),
        "contrast": _as_pixels(means + CONTRAST * (images - means)),
        "noise": _as_pixels(images + grain),
        "shift": _shifted(images, ways),
    }


def _blurred(images: Images) -> Images:
    # scipy.ndimage takes a moment to import, and only the gate disturbs pictures.
    from scipy import ndimage

    width = BLUR * images.shape[1]
    return _as_pixels(ndimage.gaussian_filter(images.astype(np.float64), (0, width, width), mode="nearest"))


def _shifted(images: Images, ways: NDArray[np.int64]) -> Images:
    """The images moved by (down, right) times SHIFT; the edge's pixels fill the gap."""
    _, height, width = images.shape
    steps = ways * np.maximum(1, np.rint(SHIFT * np.array([height, width])).astype(np.int64))
    rows = np.clip(np.arange(height) - steps[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) - steps[:, 1:], 0, width - 1)
    moved: Images = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def _as_pixels(light: NDArray[np.float64]) -> Images:
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
