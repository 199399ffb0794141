"""Random movement of a batch."""

from __future__ import annotations

import pytest
import torch

from pipelines.image.augmentation import _change_strokes, _elastic_field, augment
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


def test_a_warp_is_smooth_and_as_strong_as_asked() -> None:
    pushes = _elastic_field(400, 28, 28, 1.5, seeded()) * 14  # from half images to pixels
    assert float(pushes.std()) == pytest.approx(1.5, rel=0.05)
    assert float(pushes.diff(dim=1).std()) < 0.5
    rows, columns = pushes[..., 1].flatten(), pushes[..., 0].flatten()
    assert abs(float(torch.corrcoef(torch.stack((rows, columns)))[0, 1])) < 0.05


def test_an_elastic_warp_moves_ink_and_keeps_most_of_it() -> None:
    image = dot().repeat(200, 1, 1, 1)
    warped = augment(image, Augmentation(elastic=1.0), seeded())
    assert not torch.allclose(warped[0], image[0])
    assert float(warped.sum()) == pytest.approx(float(image.sum()), rel=0.1)


def test_a_stretch_widens_along_one_axis_alone() -> None:
    square = torch.zeros(300, 1, 28, 28)
    square[:, :, 9:19, 9:19] = 1.0
    stretched = augment(square, Augmentation(stretch=0.3), seeded())
    widths, heights = stretched.amax(dim=2).sum(dim=2), stretched.amax(dim=3).sum(dim=2)
    assert float(widths.min()) < 8.5 < 12 < float(widths.max())
    assert float((widths / heights).max()) > 1.4


@pytest.mark.parametrize(("thickness", "ink"), [(1.0, 25.0), (-1.0, 1.0), (0.5, 17.0), (0.0, 9.0)])
def test_strokes_grow_and_shrink_by_a_share_of_a_pixel(thickness: float, ink: float) -> None:
    stroked = _change_strokes(dot(), torch.full((1, 1, 1, 1), thickness))
    assert float(stroked.sum()) == pytest.approx(ink)


def test_strokes_of_a_batch_become_both_thicker_and_thinner() -> None:
    inks = augment(dot().repeat(100, 1, 1, 1), Augmentation(stroke=1.0), seeded()).sum(dim=(1, 2, 3))
    assert float(inks.min()) < 3 < 20 < float(inks.max())
    assert float(augment(dot(), Augmentation(stroke=0.5), seeded()).max()) <= 1.0
