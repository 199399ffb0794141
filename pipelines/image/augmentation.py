"""Augments a batch of images by random movement, with a generator of its own."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch.nn import functional

from pipelines.recipe import Augmentation

WARP_SMOOTHNESS = 4.0
"""Pixels over which the smooth warp changes its mind: the standard deviation of the bell that spreads each push."""


def augment(batch: torch.Tensor, amount: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Move each image of float (n, 1, h, w) by a random amount, then change its strokes and light, then add noise.

    Draws come from the generator alone; it lives on the batch's device.
    """
    images = _transform_geometry(batch, amount, generator) if _has_geometry(amount) else batch
    if amount.stroke:
        images = _change_strokes(images, amount.stroke * (2 * _uniform((len(images), 1, 1, 1), generator) - 1))
    if amount.contrast:
        original_rows = 1 - amount.contrast * _uniform((len(images), 1, 1, 1), generator)
        means = images.mean(dim=(2, 3), keepdim=True)
        images = means + original_rows * (images - means)
    if amount.noise:
        grain = torch.randn(images.shape, generator=generator, device=generator.device) * amount.noise
        images = (images + grain).clamp(0.0, 1.0)
    return images


def _has_geometry(amount: Augmentation) -> bool:
    return any((amount.rotation, amount.shift, amount.zoom, amount.stretch, amount.shear, amount.elastic))


def _transform_geometry(batch: torch.Tensor, amount: Augmentation, generator: torch.Generator) -> torch.Tensor:
    rows, _, height, width = batch.shape
    draws = _uniform((5, rows), generator) * 2 - 1
    angle = draws[0] * math.radians(amount.rotation)
    slant = torch.tan(draws[1] * math.radians(amount.shear))
    scale = 1 + draws[2] * amount.zoom
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    # The grid looks up where each pixel comes from, in units of half the image; aspect keeps angles true.
    aspect = width / height
    theta = torch.empty((rows, 2, 3), device=batch.device)
    theta[:, 0, 0], theta[:, 0, 1] = cosine, (slant * cosine - sine) / aspect
    theta[:, 1, 0], theta[:, 1, 1] = sine * aspect, slant * sine + cosine
    if amount.stretch:
        theta[:, :, :2] *= 1 + amount.stretch * (2 * _uniform((rows, 1, 2), generator) - 1)
    theta[:, 0, 2] = draws[3] * (2 * amount.shift / width)
    theta[:, 1, 2] = draws[4] * (2 * amount.shift / height)
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    if amount.elastic:
        grid = grid + _elastic_field(rows, height, width, amount.elastic, generator)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def _elastic_field(rows: int, height: int, width: int, spread: float, generator: torch.Generator) -> torch.Tensor:
    """Smooth random pushes (n, h, w, 2), in units of half the image, of this standard deviation in pixels.

    Normal draws on a coarse net, spread by bells: what blurring a draw for every pixel would give, at a tenth the cost.
    """
    down, across = _gaussian_basis(height).to(generator.device), _gaussian_basis(width).to(generator.device)
    net = torch.randn((rows, 2, down.shape[1], across.shape[1]), generator=generator, device=generator.device)
    pushes = spread * (down @ net @ across.T)
    return torch.stack((pushes[:, 0] * (2 / width), pushes[:, 1] * (2 / height)), dim=3)


@lru_cache(maxsize=8)
def _gaussian_basis(side: int) -> torch.Tensor:
    """How much each knot of the net moves each pixel (side, knots); the squares of a row sum to 1."""
    knots = torch.arange(-WARP_SMOOTHNESS, side + WARP_SMOOTHNESS, WARP_SMOOTHNESS / 2 * 1.5)
    bells = torch.exp(-(((torch.arange(side)[:, None] - knots[None, :]) / WARP_SMOOTHNESS) ** 2) / 2)
    return bells / bells.square().sum(dim=1, keepdim=True).sqrt()


def _change_strokes(batch: torch.Tensor, thickness: torch.Tensor) -> torch.Tensor:
    """Towards the brightest of the neighbourhood where thickness (n, 1, 1, 1) is above 0, else towards the darkest."""
    way = torch.where(thickness < 0, -1.0, 1.0)
    bright = batch * way
    padded = functional.pad(bright, (1, 1, 1, 1), value=-math.inf)
    lines = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    most = torch.maximum(torch.maximum(lines[..., :-2], lines[..., 1:-1]), lines[..., 2:])
    return batch + thickness.abs() * (most * way - batch)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)
