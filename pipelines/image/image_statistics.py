"""Plain statistics of an image's ink, light and noise, for input drift.

Each image (height, width) is read as light from 0 to 1, bright ink on a dark ground. Its ground is the 5th
percentile of its pixels and its ink's light the 99th; a pixel is ink when it is nearer to the latter. An image
of one colour has no ink: its shares, slant and stroke are 0 and its centre is the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

Floats = NDArray[np.float64]

STATISTICS: Final[Mapping[str, str]] = {
    "mean": "mean light",
    "deviation": "standard deviation of the light",
    "ground": "light of the ground, the 5th percentile",
    "contrast": "99th percentile of the light above the ground",
    "ink_share": "share of the pixels that are ink",
    "stroke_width": "twice the ink's area over the length of its edge, in image heights",
    "centre_x": "centre of the ink's mass, 0 at the left edge and 1 at the right",
    "centre_y": "centre of the ink's mass, 0 at the top and 1 at the bottom",
    "slant": "horizontal step per vertical step of the ink (second moments), 0 upright",
    "sharpness": "variance of the Laplacian (Pech-Pacheco et al. 2000) over the contrast squared",
    "noise": "standard deviation of the ground's noise (Immerkaer 1996)",
}
"""Every measure and what it is; the names are stable, because profiles of versions are kept under them."""

_CHUNK_ROWS: Final = 512
_MAX_SLANT: Final = 2.0


def image_statistics(images: NDArray[np.uint8]) -> dict[str, Floats]:
    """Each measure of NAMES for uint8 images (n, height, width), as float64 (n,); DataError for other shapes."""
    if images.ndim != 3 or images.dtype != np.uint8 or min(images.shape[1:]) < 3:
        raise DataError(
            f"images of shape {images.shape} and type {images.dtype} cannot be measured; "
            "give uint8 (n, height, width) of at least 3x3 pixels"
        )
    starts = range(0, max(len(images), 1), _CHUNK_ROWS)
    parts = [_chunk_statistics(images[i : i + _CHUNK_ROWS].astype(np.float64) / 255.0) for i in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in STATISTICS}


def _chunk_statistics(light: Floats) -> dict[str, Floats]:
    flat = light.reshape(len(light), light.shape[1] * light.shape[2])
    low, high = _percentiles(flat)
    contrast = high - low
    ink = light > ((low + high) / 2)[:, None, None]
    mass = np.maximum(light - low[:, None, None], 0.0)
    centre_x, centre_y, slant = _moments(mass)
    return {
        "mean": flat.mean(axis=1),
        "deviation": flat.std(axis=1),
        "ground": low,
        "contrast": contrast,
        "ink_share": ink.mean(axis=(1, 2)),
        "stroke_width": _stroke_width(ink),
        "centre_x": centre_x,
        "centre_y": centre_y,
        "slant": slant,
        "sharpness": _ratio(_laplacian(light).var(axis=(1, 2)), contrast**2),
        "noise": _noise(light, ink),
    }


def _percentiles(flat: Floats) -> tuple[Floats, Floats]:
    low, high = (int(share * (flat.shape[1] - 1)) for share in (0.05, 0.99))
    ordered = np.partition(flat, (low, high), axis=1)
    return ordered[:, low], ordered[:, high]


def _moments(mass: Floats) -> tuple[Floats, Floats, Floats]:
    """Centre x, centre y and slant; a row's or a column's mass is enough for all but the mixed moment."""
    _, height, width = mass.shape
    y, x = np.arange(height) / (height - 1), np.arange(width) / (width - 1)
    total = mass.sum(axis=(1, 2))
    rows, columns = mass.sum(axis=2), mass.sum(axis=1)
    centre_x = _ratio(columns @ x, total, empty=0.5)
    centre_y = _ratio(rows @ y, total, empty=0.5)
    mixed = _ratio((mass @ x * y).sum(axis=1), total) - centre_x * centre_y
    upright: Floats = _ratio(rows @ y**2, total) - centre_y**2
    step = _ratio(mixed, upright) * ((width - 1) / (height - 1))
    return centre_x, centre_y, np.where(total > 0, np.clip(-step, -_MAX_SLANT, _MAX_SLANT), 0.0)


def _stroke_width(ink: NDArray[np.bool_]) -> Floats:
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    edge = (padded[:, 1:] != padded[:, :-1]).sum(axis=(1, 2)) + (padded[:, :, 1:] != padded[:, :, :-1]).sum(axis=(1, 2))
    width: Floats = _ratio(2.0 * ink.sum(axis=(1, 2)), edge.astype(np.float64)) / ink.shape[1]
    return width


def _laplacian(light: Floats) -> Floats:
    inner = light[:, 1:-1, 1:-1]
    around: Floats = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:] - 4 * inner
    return around


def _noise(light: Floats, ink: NDArray[np.bool_]) -> Floats:
    """Immerkaer's estimate over the pixels whose neighbourhood holds no ink: blind to any plane of light."""
    smooth = _second_difference(_second_difference(light, 1), 2)
    touched = _any_of_three(_any_of_three(ink, 1), 2)
    ground = ~touched
    mean = _ratio((np.abs(smooth) * ground).sum(axis=(1, 2)), ground.sum(axis=(1, 2)).astype(np.float64))
    noise: Floats = np.sqrt(np.pi / 2) / 6 * mean
    return noise


def _second_difference(light: Floats, axis: int) -> Floats:
    before, here, after = _adjacent_pixels(light, axis)
    bent: Floats = before - 2 * here + after
    return bent


def _any_of_three(ink: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    before, here, after = _adjacent_pixels(ink, axis)
    touched: NDArray[np.bool_] = before | here | after
    return touched


def _adjacent_pixels(light: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The pixels before, at and after each inner place along an axis of (n, height, width)."""
    if axis == 1:
        return light[:, :-2], light[:, 1:-1], light[:, 2:]
    return light[:, :, :-2], light[:, :, 1:-1], light[:, :, 2:]


def _ratio(above: Floats, below: Floats, empty: float = 0.0) -> Floats:
    shares: Floats = np.divide(above, below, out=np.full(len(above), empty), where=below > 0)
    return shares
