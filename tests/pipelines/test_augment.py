"""Random movement of a batch."""

from __future__ import annotations

import pytest
import torch

from pipelines.augment import augment
from pipelines.recipe import Augmentation


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dot(at: tuple[int, int] = (10, 14), side: int = 28) -> torch.Tensor:
    image = torch.zeros(1, 1, side, side)
    image[0, 0, at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] = 1.0
    return image


def centre(image: torch.Tensor) -> tuple[float, float]:
    rows, columns = torch.meshgrid(
        torch.arange(image.shape[2]).float(), torch.arange(image.shape[3]).float(), indexing="ij"
    )
    mass = image[0, 0]
    return float((mass * rows).sum() / mass.sum()), float((mass * columns).sum() / mass.sum())


def test_no_amount_leaves_the_batch_as_it_is() -> None:
    batch = torch.rand(3, 1, 9, 9, generator=seeded())
    assert torch.equal(augment(batch, Augmentation(), seeded()), batch)


def test_the_generator_alone_decides_the_movement() -> None:
    batch = torch.rand(3, 1, 9, 9, generator=seeded())
    amount = Augmentation(rotation=20, shift=2, zoom=0.2, shear=10, noise=0.1)
    once, again = augment(batch, amount, seeded(5)), augment(batch, amount, seeded(5))
    assert torch.equal(once, again)
    assert not torch.equal(once, augment(batch, amount, seeded(6)))


def test_each_image_moves_by_its_own_amount() -> None:
    moved = augment(dot().repeat(2, 1, 1, 1), Augmentation(shift=4), seeded())
    assert not torch.allclose(moved[0], moved[1])


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_stays_within_its_pixels(seed: int) -> None:
    row, column = centre(augment(dot(), Augmentation(shift=3), seeded(seed)))
    assert abs(row - 10) <= 3.01
    assert abs(column - 14) <= 3.01


@pytest.mark.parametrize("seed", range(5))
def test_a_turn_keeps_the_distance_from_the_middle(seed: int) -> None:
    row, column = centre(augment(dot((5, 14)), Augmentation(rotation=40), seeded(seed)))
    assert ((row - 13.5) ** 2 + (column - 13.5) ** 2) ** 0.5 == pytest.approx(8.515, abs=0.1)


def test_noise_stays_within_black_and_white() -> None:
    noisy = augment(torch.rand(4, 1, 9, 9, generator=seeded()), Augmentation(noise=0.5), seeded())
    assert float(noisy.min()) >= 0.0
    assert float(noisy.max()) <= 1.0


def test_contrast_falls_towards_the_mean_and_by_no_more_than_asked() -> None:
    batch = torch.rand(64, 1, 9, 9, generator=seeded())
    faded = augment(batch, Augmentation(contrast=0.5), seeded(3))
    means = batch.mean(dim=(2, 3))
    assert torch.allclose(faded.mean(dim=(2, 3)), means, atol=1e-6)
    kept = faded.std(dim=(2, 3)) / batch.std(dim=(2, 3))
    assert 0.5 <= float(kept.min()) < 0.6
    assert 0.9 < float(kept.max()) <= 1.0
