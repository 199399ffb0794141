"""The loop that tutorials teach, which ours is measured against."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.tutorial.loop import Digits, seconds_of
from benchmarks.tutorial.transforms import Transform
from pipelines.builtin.digits import BEST, COMPACT
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.augmentation import augment
from pipelines.recipe import Augmentation
from pipelines.training.network import build_network

ROWS = load_optdigits().take(range(64))


def test_no_amount_gives_the_image_as_it_is() -> None:
    tensor = Transform(Augmentation())(Image.fromarray(images_of(ROWS.batch)[0]))
    assert torch.equal(tensor, torch.from_numpy(images_of(ROWS.batch)[:1]).float() / 255)


@pytest.mark.parametrize(
    "amount", [BEST.augmentation, replace(BEST.augmentation, elastic=0.0, contrast=0.0, stroke=0.0)]
)
def test_both_loops_move_images_about_as_far(amount: Augmentation) -> None:
    random.seed(0)
    torch.manual_seed(0)
    still = torch.from_numpy(images_of(ROWS.batch).copy()).float().div(255).unsqueeze(1)
    transform = Transform(amount)
    one_by_one = torch.stack([transform(Image.fromarray(image)) for image in images_of(ROWS.batch)])
    together = augment(still, amount, torch.Generator().manual_seed(0))
    theirs, ours = (float((moved - still).abs().mean()) for moved in (one_by_one, together))
    assert theirs == pytest.approx(ours, rel=0.25)
    assert float(one_by_one.min()) >= 0
    assert float(one_by_one.max()) <= 1


def test_the_tutorials_loop_learns() -> None:
    network = build_network(COMPACT, 10)
    rows = Digits(np.tile(images_of(ROWS.batch), (8, 1, 1)), np.tile(ROWS.labels, 8), Transform(Augmentation()))
    spent = [seconds_of(network, rows, 32, 3e-3, 0) for _ in range(2)]
    assert min(spent) > 0
    network.eval()
    with torch.inference_mode():
        answers = network(torch.from_numpy(images_of(ROWS.batch).copy()).float().div(255).unsqueeze(1)).argmax(1)
    assert float((answers == torch.from_numpy(ROWS.labels)).float().mean()) > 0.9
