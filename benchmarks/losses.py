"""Lessons, ways to teach a network other than by its labels alone; refuses to know recipes, registries and files.

Distillation: Hinton, Vinyals and Dean (2015). Hardening by one attack step from a random start: Wong, Rice and Kolter
(ICLR 2020). Noise: Cohen, Rosenfeld and Kolter (ICML 2019). Defensive distillation: Papernot et al. (2016), which an
attacker who divides the logits again undoes (Carlini and Wagner 2017); it is here to be measured, not to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from pipelines.data import Examples, images_of
from pipelines.engines.torch_engine import to_tensor
from pipelines.errors import DataError
from pipelines.image.augmentation import augment
from pipelines.recipe import Augmentation

LossFn = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""The loss of a network on a batch: images (n, 1, height, width) from 0 to 1, and labels (n,)."""


def cross_entropy_loss(temperature: float = 1.0) -> LossFn:
    """Cross-entropy of the logits divided by a temperature."""
    return lambda network, images, labels: functional.cross_entropy(network(images) / temperature, labels)


def distillation_loss(teacher: nn.Module, temperature: float, teacher_weight: float = 1.0) -> LossFn:
    """Mostly (`share`) what the teacher's logits over the temperature say of the same pictures, the rest by labels.

    Raises DataError for a share outside 0 to 1.
    """
    if not 0 <= teacher_weight <= 1:
        raise DataError(f"share is {teacher_weight}; give how much the teacher's word counts, from 0 to 1")
    teacher.eval()

    def loss(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            said = torch.softmax(teacher(images) / temperature, dim=1)
        logits = network(images)
        soft = functional.cross_entropy(logits / temperature, said) * temperature**2
        return teacher_weight * soft + (1 - teacher_weight) * functional.cross_entropy(logits, labels)

    return loss


def defensive_distillation_loss(teacher: nn.Module, temperature: float) -> LossFn:
    """The teacher's soft labels alone, at its temperature, without Hinton's factor: the student's logits grow large."""
    teacher.eval()

    def loss(network: nn.Module, images: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            said = torch.softmax(teacher(images) / temperature, dim=1)
        return functional.cross_entropy(network(images) / temperature, said)

    return loss


def gaussian_noise_loss(sigma: float, seed: int) -> LossFn:
    """Labels of pictures under Gaussian noise of this standard deviation, 1 being the range from black to white."""
    generator = torch.Generator().manual_seed(seed)

    def loss(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        grain = torch.randn(images.shape, generator=generator) * sigma
        return functional.cross_entropy(network(images + grain), labels)

    return loss


def adversarial_loss(epsilon: float, seed: int) -> LossFn:
    """Labels of pictures after one step of 1.25 epsilon from a random start within epsilon."""
    generator = torch.Generator().manual_seed(seed)

    def loss(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        start = (torch.rand(images.shape, generator=generator) * 2 - 1) * epsilon
        at = (images + start).clamp(0, 1).requires_grad_(True)
        [slope] = torch.autograd.grad(functional.cross_entropy(network(at), labels), at)
        moved = at.detach() + 1.25 * epsilon * slope.sign()
        worst = torch.clamp(torch.clamp(moved, images - epsilon, images + epsilon), 0, 1)
        return functional.cross_entropy(network(worst), labels)

    return loss


def train_with_loss(
    network: nn.Module,
    rows: Examples,
    loss_fn: LossFn,
    *,
    epochs: int,
    seed: int,
    learning_rate: float = 3e-3,
    batch_size: int = 64,
    augmentation: Augmentation | None = None,
) -> nn.Module:
    """Teach a network for some epochs with one cycle of the learning rate; the same seed gives the same weights."""
    if len(rows) < 2:
        raise DataError(f"'{rows.name}' has {len(rows)} rows; give at least 2 to teach on")
    images, labels = to_tensor(images_of(rows.batch)), torch.from_numpy(rows.labels.copy())
    generator = torch.Generator().manual_seed(seed)
    steps = max(1, len(rows) // batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(epochs):
            network.train()
            order = torch.randperm(len(rows), generator=generator)
            for part in torch.tensor_split(order, steps):
                batch = images[part]
                if augmentation is not None:
                    batch = augment(batch, augmentation, generator)
                loss = loss_fn(network, batch, labels[part])
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
    network.eval()
    return network
