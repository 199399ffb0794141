"""Lessons, and what a smoothed model certifies."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.losses import (
    adversarial_loss,
    cross_entropy_loss,
    defensive_distillation_loss,
    distillation_loss,
    gaussian_noise_loss,
    train_with_loss,
)
from benchmarks.randomized_smoothing import certify
from pipelines.data import Examples, images_of
from pipelines.engines.torch_engine import to_tensor
from pipelines.errors import DataError
from pipelines.evaluation.adversarial import count_correct, pgd
from pipelines.image.image_examples import image_examples
from pipelines.training.network import build_network
from tests.support.bars import TINY, draw_bars

TRAIN, FRESH = draw_bars(200, 1), draw_bars(100, 5)
LABELS = torch.from_numpy(FRESH.labels)


def blank(seed: int = 1) -> nn.Module:
    return build_network(TINY, 2, height=12, width=12, seed=seed)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return train_with_loss(blank(), TRAIN, cross_entropy_loss(), epochs=8, batch_size=16, seed=1)


def share_right(network: nn.Module, rows: Examples = FRESH) -> float:
    return count_correct(network, to_tensor(images_of(rows.batch)), torch.from_numpy(rows.labels)) / len(rows)


def test_labels_teach_and_the_seed_decides_the_weights(teacher: nn.Module) -> None:
    assert share_right(teacher) > 0.95
    again = train_with_loss(blank(), TRAIN, cross_entropy_loss(), epochs=8, batch_size=16, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), again.parameters(), strict=True))
    other = train_with_loss(blank(), TRAIN, cross_entropy_loss(), epochs=8, batch_size=16, seed=2)
    assert not all(torch.equal(a, b) for a, b in zip(teacher.parameters(), other.parameters(), strict=True))


def test_a_student_learns_from_its_teacher_where_every_label_is_wrong(teacher: nn.Module) -> None:
    lied = image_examples(images_of(TRAIN.batch), 1 - TRAIN.labels, "lies")
    student = train_with_loss(
        blank(7), lied, distillation_loss(teacher, temperature=3.0), epochs=8, batch_size=16, seed=3
    )
    assert share_right(student) > 0.9
    assert share_right(train_with_loss(blank(7), lied, cross_entropy_loss(), epochs=8, batch_size=16, seed=3)) < 0.1


def test_hardening_bears_attacks_that_break_the_plain_model(teacher: nn.Module) -> None:
    hard = train_with_loss(blank(), TRAIN, adversarial_loss(0.2, seed=1), epochs=8, batch_size=16, seed=1)
    images = to_tensor(images_of(FRESH.batch))
    broken = count_correct(teacher, pgd(teacher, images, LABELS, 0.2), LABELS)
    held = count_correct(hard, pgd(hard, images, LABELS, 0.2), LABELS)
    assert held > broken + 20
    assert share_right(hard) > 0.9


def test_defensive_distillation_hides_its_gradient_and_falls_to_whoever_divides_the_logits(teacher: nn.Module) -> None:
    hot = train_with_loss(
        blank(3), TRAIN, cross_entropy_loss(40.0), epochs=6, batch_size=16, seed=1, learning_rate=1e-2
    )
    student = train_with_loss(
        blank(4), TRAIN, defensive_distillation_loss(hot, 40.0), epochs=6, batch_size=16, seed=1, learning_rate=1e-2
    )
    assert share_right(student) > 0.9
    images = to_tensor(images_of(FRESH.batch))

    class Served(nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return torch.log(torch.softmax(student(given), dim=1).clamp_min(1e-30))

    class Divided(nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = student(given) / 40.0
            return made

    naive = count_correct(student, pgd(Served(), images, LABELS, 0.3), LABELS)
    adaptive = count_correct(student, pgd(Divided(), images, LABELS, 0.3), LABELS)
    assert adaptive < naive


def test_noise_teaches_to_bear_noise(teacher: nn.Module) -> None:
    noisy = train_with_loss(blank(), TRAIN, gaussian_noise_loss(0.6, seed=1), epochs=8, batch_size=16, seed=1)
    generator = np.random.default_rng(0)
    grain = generator.normal(0, 0.6 * 255, images_of(FRESH.batch).shape)
    harmed = image_examples(np.clip(images_of(FRESH.batch) + grain, 0, 255).astype(np.uint8), FRESH.labels, "noisy")
    assert share_right(noisy, harmed) > share_right(teacher, harmed)


class Bright(nn.Module):
    """Class 1 where the first pixel is above a half: its distance to the border is known."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lit = images[:, 0, 0, 0] - 0.5
        return torch.stack([-lit, lit], dim=1)


def test_a_certified_radius_stays_below_the_true_distance_and_comes_near_it() -> None:
    image = torch.zeros((1, 4, 4))
    image[0, 0, 0] = 0.9  # 0.4 from the border
    found = certify(Bright(), image, sigma=0.25, estimation_draws=5000)
    assert found.predicted_class == 1
    assert 0.33 < found.radius < 0.4
    share = NormalDist().cdf(0.4 / 0.25)
    assert found.radius < 0.25 * NormalDist().inv_cdf(share)


def test_a_picture_on_the_border_is_not_certified() -> None:
    image = torch.full((1, 4, 4), 0.5)
    assert certify(Bright(), image, sigma=0.25, estimation_draws=500).predicted_class is None


def test_what_teaches_or_certifies_nothing_is_refused(teacher: nn.Module) -> None:
    with pytest.raises(DataError, match="share is 2"):
        distillation_loss(teacher, 2.0, 2.0)
    with pytest.raises(DataError, match="at least 2"):
        train_with_loss(blank(), TRAIN.take([0]), cross_entropy_loss(), epochs=1, seed=1)
    with pytest.raises(DataError, match="certify nothing"):
        certify(Bright(), torch.zeros((1, 4, 4)), sigma=0.0)
