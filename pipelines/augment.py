"""Random movement of a batch of images; refuses to know labels, models and the global random state."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from pipelines.recipe import Augmentation


def augment(batch: torch.Tensor, amount: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Turn, shift, zoom, slant and fade each image of float (n, 1, h, w) by a random amount, then add noise."""
    moved = _moved(batch, amount, generator) if _moves(amount) else batch
    if amount.contrast:
        kept = 1 - amount.contrast * torch.rand((len(moved), 1, 1, 1), generator=generator)
        means = moved.mean(dim=(2, 3), keepdim=True)
        moved = means + kept * (moved - means)
    if amount.noise:
        grain = torch.randn(moved.shape, generator=generator) * amount.noise
        moved = (moved + grain).clamp(0.0, 1.0)
    return moved


def _moves(amount: Augmentation) -> bool:
    return any((amount.rotation, amount.shift, amount.zoom, amount.shear))


def _moved(batch: torch.Tensor, amount: Augmentation, generator: torch.Generator) -> torch.Tensor:
    rows, _, height, width = batch.shape
    draws = torch.rand((5, rows), generator=generator) * 2 - 1
    angle = draws[0] * math.radians(amount.rotation)
    slant = torch.tan(draws[1] * math.radians(amount.shear))
    scale = 1 + draws[2] * amount.zoom
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    # The grid looks up where each pixel comes from, in units of half the image; aspect keeps angles true.
    aspect = width / height
    theta = torch.empty((rows, 2, 3))
    theta[:, 0, 0], theta[:, 0, 1] = cosine, (slant * cosine - sine) / aspect
    theta[:, 1, 0], theta[:, 1, 1] = sine * aspect, slant * sine + cosine
    theta[:, 0, 2] = draws[3] * (2 * amount.shift / width)
    theta[:, 1, 2] = draws[4] * (2 * amount.shift / height)
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
