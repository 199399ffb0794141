"""Builds the network of a recipe."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.errors import ModelFormatError
from pipelines.recipe import NetworkRecipe
from registry.model_contract import ModelContract, image_inputs

MIN_SIDE = 8


def build_network(
    recipe: NetworkRecipe, classes: int, *, height: int = 28, width: int = 28, seed: int = 0
) -> nn.Module:
    """A small convolutional network that takes float (n, 1, height, width) and returns one logit per class.

    Blocks of two 3x3 convolutions with batch norm, each halved by pooling. A plain body ends with one more pooling
    that rounds up, a dense layer with dropout and one of logits; a lean one with the mean over its last block, which
    is not halved, dropout and one layer of logits. Same seed, same weights.
    """
    smallest = max(MIN_SIDE, 2 ** (len(recipe.channels) + 1))
    if classes < 2 or min(height, width) < smallest:
        raise ModelFormatError(
            f"no network for {classes} classes of {height}x{width} images and {len(recipe.channels)} blocks; "
            f"give at least 2 classes and {smallest}x{smallest} pixels"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (
            _global_pool_layers(recipe, classes)
            if recipe.body == "lean"
            else _dense_head_layers(recipe, classes, height, width)
        )
        return nn.Sequential(*layers)


def network_for(contract: ModelContract, recipe: NetworkRecipe, seed: int = 0) -> nn.Module:
    """The network of a recipe for the pictures and classes of a contract."""
    height, width = image_inputs(contract).size
    return build_network(recipe, len(contract.classes), height=height, width=width, seed=seed)


def parameter_count(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in module.parameters())


def _dense_head_layers(recipe: NetworkRecipe, classes: int, height: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 1
    for outputs in recipe.channels:
        layers += [*_convolution_block(inputs, outputs), *_convolution_block(outputs, outputs), nn.MaxPool2d(2)]
        inputs = outputs
    halvings = len(recipe.channels)
    pixels = _pooled_side(height, halvings) * _pooled_side(width, halvings)
    return [
        *layers,
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(inputs * pixels, recipe.hidden),
        nn.ReLU(),
        nn.Dropout(recipe.dropout),
        nn.Linear(recipe.hidden, classes),
    ]


def _global_pool_layers(recipe: NetworkRecipe, classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 1
    for outputs in recipe.channels[:-1]:
        layers += [*_convolution_block(inputs, outputs), *_convolution_block(outputs, outputs, pooled=True)]
        inputs = outputs
    last = recipe.channels[-1]
    layers += [*_convolution_block(inputs, last), *_convolution_block(last, last)]
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(recipe.dropout), nn.Linear(last, classes)]


def _convolution_block(inputs: int, outputs: int, *, pooled: bool = False) -> list[nn.Module]:
    # Batch norm has its own offset, so the convolution needs none. Norm and ReLU of a quarter of the pixels cost less.
    halving = [nn.MaxPool2d(2, ceil_mode=True)] if pooled else []
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, *halving, nn.BatchNorm2d(outputs), nn.ReLU()]


def _pooled_side(side: int, halvings: int) -> int:
    return -(-(side >> halvings) // 2)
