"""The network of a recipe; refuses to know data, training and files."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.errors import ModelFormatError
from pipelines.recipe import Recipe

SMALLEST_SIDE = 8


def build_network(recipe: Recipe, classes: int, *, height: int = 28, width: int = 28, seed: int = 0) -> nn.Module:
    """A small convolutional network that takes float (n, 1, height, width) and returns one logit per class.

    Two blocks of two 3x3 convolutions with batch norm, each halved by pooling, a third pooling that
    rounds up, one dense layer with dropout, one dense layer of logits. Same seed, same weights.
    """
    if classes < 2 or min(height, width) < SMALLEST_SIDE:
        raise ModelFormatError(
            f"no network for {classes} classes of {height}x{width} images; "
            f"give at least 2 classes and {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels"
        )
    first, second = recipe.channels
    rows, columns = _pooled(height), _pooled(width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *_convolution(1, first),
            *_convolution(first, first),
            nn.MaxPool2d(2),
            *_convolution(first, second),
            *_convolution(second, second),
            nn.MaxPool2d(2),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(second * rows * columns, recipe.hidden),
            nn.ReLU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(recipe.hidden, classes),
        )


def parameter_count(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in module.parameters())


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    # Batch norm has its own offset, so the convolution needs none.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _pooled(side: int) -> int:
    return -(-(side // 4) // 2)
