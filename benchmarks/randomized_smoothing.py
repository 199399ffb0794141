"""Randomised smoothing: the answer most frequent under noise, and how far from a picture it surely holds; no files.

Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing" (ICML 2019). The certificate
holds for the smoothed model, which asks the network hundreds of times, and not for the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import nn

from pipelines.errors import DataError
from registry.gate.paired_comparison import exact_bounds

CHUNK = 256


@dataclass(frozen=True)
class Certificate:
    """A class index, None where the smoothed model abstains, and the L2 radius in which it surely answers so."""

    predicted_class: int | None
    radius: float
    """In the network's units: 1 is one pixel from black to white."""


def certify(
    network: nn.Module,
    image: torch.Tensor,
    sigma: float,
    *,
    selection_draws: int = 100,
    estimation_draws: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
) -> Certificate:
    """The certificate of one picture (1, height, width) under noise of standard deviation sigma, wrong at most alpha.

    `first` draws choose the class, `draws` others bound its share from below (Clopper-Pearson, one-sided).
    """
    if sigma <= 0 or selection_draws < 1 or estimation_draws < 1 or not 0 < alpha < 1:
        raise DataError(
            f"sigma {sigma}, draws {selection_draws} and {estimation_draws}, alpha {alpha} certify "
            "nothing; give positive ones"
        )
    generator = torch.Generator().manual_seed(seed)
    answer = int(_noisy_class_counts(network, image, sigma, selection_draws, generator).argmax())
    hits = int(_noisy_class_counts(network, image, sigma, estimation_draws, generator)[answer])
    low, _ = exact_bounds(hits, estimation_draws, alpha)
    if low <= 0.5:
        return Certificate(None, 0.0)
    return Certificate(answer, sigma * NormalDist().inv_cdf(low))


def _noisy_class_counts(
    network: nn.Module, image: torch.Tensor, sigma: float, draws: int, generator: torch.Generator
) -> torch.Tensor:
    """How often each class is answered under noise."""
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, draws, CHUNK):
            size = min(CHUNK, draws - start)
            noisy = image[None] + sigma * torch.randn((size, *image.shape), generator=generator)
            logits = network(noisy)
            found.append(torch.bincount(logits.argmax(1), minlength=logits.shape[1]))
    return torch.stack(found).sum(dim=0)
