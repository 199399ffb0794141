"""The network of a recipe."""

from __future__ import annotations

import pytest
import torch

from pipelines.errors import ModelFormatError
from pipelines.families.digits import REFERENCE
from pipelines.model import build_network, parameter_count
from pipelines.recipe import Recipe


def test_the_reference_network_has_its_known_size() -> None:
    assert parameter_count(build_network(REFERENCE, 10)) == 197_674


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (13, 31)])
def test_any_image_size_gives_one_logit_per_class(tiny: Recipe, height: int, width: int) -> None:
    network = build_network(tiny, 3, height=height, width=width)
    assert network(torch.zeros(2, 1, height, width)).shape == (2, 3)


def test_the_seed_decides_the_weights_and_leaves_the_global_state_alone(tiny: Recipe) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_network(tiny, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("classes", "height"), [(1, 28), (10, 7)])
def test_too_few_classes_or_pixels_are_refused(tiny: Recipe, classes: int, height: int) -> None:
    with pytest.raises(ModelFormatError, match=f"{classes} classes of {height}x28"):
        build_network(tiny, classes, height=height)
