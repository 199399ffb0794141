"""The per-image transforms that tutorials use, as torchvision does them on PIL images; they know no training loop.

The same movements as `pipelines.image.augmentation`, one image at a time: a random affine by Pillow, an elastic warp of
blurred noise, a thicker or thinner stroke by Pillow's filters, a weaker contrast.
"""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional

from pipelines.image.augmentation import WARP_SMOOTHNESS
from pipelines.recipe import Augmentation


class Transform:
    """PIL image in, float tensor (1, h, w) out."""

    def __init__(self, amount: Augmentation) -> None:
        self.amount = amount

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """One image, moved at random."""
        amount = self.amount
        picture = self._moved(picture)
        if amount.stroke:
            thickness = random.uniform(-amount.stroke, amount.stroke)
            kind = ImageFilter.MaxFilter(3) if thickness > 0 else ImageFilter.MinFilter(3)
            picture = Image.blend(picture, picture.filter(kind), abs(thickness))
        image = torch.from_numpy(np.asarray(picture, dtype=np.uint8).copy()).float().div(255).unsqueeze(0)
        if amount.elastic:
            image = self._warped(image)
        if amount.contrast:
            kept = 1 - random.uniform(0, amount.contrast)
            image = image.mean() + kept * (image - image.mean())
        if amount.noise:
            image = (image + torch.randn_like(image) * amount.noise).clamp(0, 1)
        return image

    def _moved(self, picture: Image.Image) -> Image.Image:
        amount, (width, height) = self.amount, picture.size
        turn = math.radians(random.uniform(-amount.rotation, amount.rotation))
        slant = math.tan(math.radians(random.uniform(-amount.shear, amount.shear)))
        scale = 1 + random.uniform(-amount.zoom, amount.zoom)
        wide, high = (scale * (1 + random.uniform(-amount.stretch, amount.stretch)) for _ in range(2))
        right, down = (random.uniform(-amount.shift, amount.shift) for _ in range(2))
        a, b = math.cos(turn) / wide, (slant * math.cos(turn) - math.sin(turn)) / wide
        d, e = math.sin(turn) / high, (slant * math.sin(turn) + math.cos(turn)) / high
        x, y = (width - 1) / 2, (height - 1) / 2
        matrix = (a, b, x - a * x - b * y + right, d, e, y - d * x - e * y + down)
        return picture.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)

    def _warped(self, image: torch.Tensor) -> torch.Tensor:
        _, height, width = image.shape
        size = int(4 * WARP_SMOOTHNESS) * 2 + 1
        line = torch.exp(-((torch.arange(size) - size // 2) / WARP_SMOOTHNESS).square() / 2)
        line = line / line.sum()
        noise = torch.rand(1, 2, height, width) * 2 - 1
        padded = functional.pad(
            noise, [size // 2] * 4, mode="circular" if size // 2 <= min(height, width) else "reflect"
        )
        across = functional.conv2d(padded, line.view(1, 1, 1, -1).repeat(2, 1, 1, 1), groups=2)
        smooth = functional.conv2d(across, line.view(1, 1, -1, 1).repeat(2, 1, 1, 1), groups=2)
        pushes = smooth / smooth.std() * self.amount.elastic * torch.tensor([2 / width, 2 / height]).view(1, 2, 1, 1)
        grid = functional.affine_grid(torch.eye(2, 3).unsqueeze(0), [1, 1, height, width], align_corners=False)
        grid = grid + pushes.permute(0, 2, 3, 1)
        warped = functional.grid_sample(image.unsqueeze(0), grid, padding_mode="border", align_corners=False)
        return warped.squeeze(0)
