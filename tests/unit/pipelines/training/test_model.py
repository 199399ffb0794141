"""The network of a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.builtin.digits import BEST, REFERENCE
from pipelines.data import image_batch
from pipelines.engines.embedding import embed
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine, to_tensor
from pipelines.errors import ModelFormatError
from pipelines.recipe import NetworkHead, NetworkRecipe
from pipelines.training.network import build_network, parameter_count


def test_the_reference_network_has_its_known_size() -> None:
    assert parameter_count(build_network(REFERENCE, 10)) == 197_674


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (13, 31)])
def test_any_image_size_gives_one_logit_per_class(tiny: NetworkRecipe, height: int, width: int) -> None:
    network = build_network(tiny, 3, height=height, width=width)
    assert network(torch.zeros(2, 1, height, width)).shape == (2, 3)


def test_the_seed_decides_the_weights_and_leaves_the_global_state_alone(tiny: NetworkRecipe) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_network(tiny, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert torch.equal(before, torch.get_rng_state())


def test_the_best_network_has_at_most_200_000_parameters() -> None:
    assert parameter_count(build_network(BEST, 10)) == 196_034


@pytest.mark.parametrize("body", ["plain", "lean"])
@pytest.mark.parametrize("channels", [(4,), (4, 6, 8), (4, 4, 4, 4)])
def test_a_network_may_have_any_number_of_blocks(
    tiny: NetworkRecipe, body: NetworkHead, channels: tuple[int, ...]
) -> None:
    network = build_network(replace(tiny, body=body, channels=channels), 3, height=48, width=33)
    assert network(torch.zeros(2, 1, 48, 33)).shape == (2, 3)


def test_more_blocks_than_pixels_can_be_halved_are_refused(tiny: NetworkRecipe) -> None:
    with pytest.raises(ModelFormatError, match="4 blocks; give at least 2 classes and 32x32"):
        build_network(replace(tiny, channels=(4, 4, 4, 4)), 3)


def test_a_lean_network_answers_the_same_from_its_file(tiny: NetworkRecipe, tmp_path: Path) -> None:
    network = build_network(replace(tiny, body="lean"), 3).eval()
    save_exportable(build_exportable(network), tmp_path / "model.pt2")
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    with torch.inference_mode():
        wanted = torch.softmax(network(to_tensor(images)), dim=1).numpy()
    predictor = load_torch_engine(tmp_path / "model.pt2", ("a", "b", "c"))
    assert np.allclose(predictor(image_batch(images)), wanted, atol=1e-6)
    assert embed(predictor, image_batch(images)).shape == (5, 8)


@pytest.mark.parametrize(("classes", "height"), [(1, 28), (10, 7)])
def test_too_few_classes_or_pixels_are_refused(tiny: NetworkRecipe, classes: int, height: int) -> None:
    with pytest.raises(ModelFormatError, match=f"{classes} classes of {height}x28"):
        build_network(tiny, classes, height=height)
