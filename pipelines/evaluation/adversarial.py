"""Adversarial attacks (FGSM, PGD): images changed by at most epsilon per pixel so that a model misreads them.

FGSM: Goodfellow, Shlens and Szegedy (ICLR 2015). PGD: Madry et al. (ICLR 2018). They need logits: where a model is
sure, the gradient of its probabilities is exactly zero in float32, and an attack on them proves nothing (Carlini and
Wagner 2017; Athalye, Carlini and Wagner 2018).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from pipelines.errors import DataError

PGD_STEPS = 20
_Attack = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
CHUNK = 128


def fgsm(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    """One step of epsilon along the sign of the loss's gradient; images (n, 1, height, width) from 0 to 1.

    `network` answers logits. Raises DataError for an epsilon outside 0 to 1.
    """
    _check_epsilon(epsilon)
    return _in_chunks(images, labels, lambda x, y: _gradient_step(network, x, x, y, epsilon, epsilon))


def pgd(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    *,
    steps: int = PGD_STEPS,
    seed: int = 0,
) -> torch.Tensor:
    """Steps of 2.5 epsilon / steps along the sign of the gradient, from a random start, kept within epsilon.

    An image that was misread on the way stays as it was then. `network` answers logits.
    """
    _check_epsilon(epsilon)
    generator = torch.Generator().manual_seed(seed)

    def climb(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        start = (torch.rand(x.shape, generator=generator) * 2 - 1) * epsilon
        at, best = (x + start).clamp(0, 1), x.clone()
        for _ in range(steps):
            at = _gradient_step(network, x, at, y, epsilon, 2.5 * epsilon / steps)
            with torch.no_grad():
                fooled = network(at).argmax(1) != y
            best[fooled] = at[fooled]
        with torch.no_grad():
            unfooled = network(best).argmax(1) == y
        best[unfooled] = at[unfooled]
        return best

    return _in_chunks(images, labels, climb)


def count_correct(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> int:
    """How many of the images are read right."""
    with torch.inference_mode():
        parts = [
            int((network(x).argmax(1) == y).sum())
            for x, y in zip(torch.split(images, CHUNK), torch.split(labels, CHUNK), strict=True)
        ]
    return sum(parts)


def _gradient_step(
    network: nn.Module, clean: torch.Tensor, at: torch.Tensor, labels: torch.Tensor, epsilon: float, size: float
) -> torch.Tensor:
    at = at.detach().requires_grad_(True)
    loss = functional.cross_entropy(network(at), labels, reduction="sum")
    [slope] = torch.autograd.grad(loss, at)
    stepped = at.detach() + size * slope.sign()
    return torch.clamp(torch.clamp(stepped, clean - epsilon, clean + epsilon), 0, 1)


def _in_chunks(images: torch.Tensor, labels: torch.Tensor, attack: _Attack) -> torch.Tensor:
    parts = [attack(x, y) for x, y in zip(torch.split(images, CHUNK), torch.split(labels, CHUNK), strict=True)]
    return torch.cat(parts) if parts else images


def _check_epsilon(epsilon: float) -> None:
    if not 0 <= epsilon <= 1:
        raise DataError(f"epsilon is {epsilon}; give a share of the range from black to white, 0 to 1")
