"""Where a model looks."""

from __future__ import annotations

import copy
import io
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pipelines.data import images_of
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import DataError, ModelFormatError
from pipelines.image.grad_cam import GradCamExplainer, render_overlay
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")
ROWS = draw_bars(40, 5)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    made = build_network(TINY, 2, height=12, width=12, seed=1)
    return fit(made, TINY, draw_bars(200, 1), draw_bars(40, 2), seed=1).network


@pytest.fixture(scope="module")
def explainer(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> GradCamExplainer:
    """Of the model as a server loads it."""
    path = tmp_path_factory.mktemp("served") / "model.pt2"
    save_exportable(build_exportable(network, height=12, width=12, temperature=1.4), path)
    return GradCamExplainer(load_torch_engine(path, CLASSES).module, 2)


def likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Rank correlation of two maps; 0 where one of them is flat."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(each.ravel())) for each in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def test_a_map_has_the_pictures_size_and_lies_between_0_and_1(explainer: GradCamExplainer) -> None:
    for image in images_of(ROWS.batch)[:10]:
        found = explainer(image)
        assert found.heat.shape == image.shape
        assert 0 <= float(found.heat.min()) <= float(found.heat.max()) <= 1


def test_the_map_of_the_answer_is_warmer_on_the_bar_than_beside_it(explainer: GradCamExplainer) -> None:
    on, beside = [], []
    for image in images_of(ROWS.batch):
        heat = explainer(image).heat
        ink = image > 200
        on.append(float(heat[ink].mean()))
        beside.append(float(heat[~ink].mean()))
    assert np.mean(on) > 1.1 * np.mean(beside)


def test_the_map_follows_the_weights_and_not_the_picture_alone(network: nn.Module, explainer: GradCamExplainer) -> None:
    """Adebayo et al.: with weights drawn anew, from the last layer down, the map must become another."""
    drawn = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in drawn.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.std())
    strange = GradCamExplainer(build_exportable(drawn, height=12, width=12), 2)
    alike = [likeness(explainer(image, 0).heat, strange(image, 0).heat) for image in images_of(ROWS.batch)]
    same = [likeness(explainer(image, 0).heat, explainer(image, 0).heat) for image in images_of(ROWS.batch)]
    assert np.mean(same) > 0.9
    assert abs(np.mean(alike)) < 0.4


def test_another_class_has_another_map(explainer: GradCamExplainer) -> None:
    assert any((explainer(image, 0).heat != explainer(image, 1).heat).any() for image in images_of(ROWS.batch)[:5])
    answered = explainer(images_of(ROWS.batch)[0])
    assert (explainer(images_of(ROWS.batch)[0], answered.class_index).heat == answered.heat).all()


def test_explaining_warns_of_nothing_and_works_where_gradients_are_off(explainer: GradCamExplainer) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        assert explainer(images_of(ROWS.batch)[0]).heat.max() > 0


def test_an_overlay_is_an_enlarged_picture_that_is_red_where_it_is_warm() -> None:
    heat = np.zeros((28, 28), dtype=np.float32)
    heat[:14] = 0.4
    with Image.open(io.BytesIO(render_overlay(np.full((28, 28), 60, dtype=np.uint8), heat))) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape == (224, 224, 3)
    assert pixels[10, 10, 0] > pixels[10, 10, 2] + 50
    assert len(set(pixels[-1, -1].tolist())) == 1


def test_what_cannot_be_explained_is_refused(explainer: GradCamExplainer) -> None:
    with pytest.raises(DataError, match="class index 7"):
        explainer(images_of(ROWS.batch)[0], 7)
    with pytest.raises(DataError, match="one grey image"):
        explainer(images_of(ROWS.batch)[:1])
    with pytest.raises(ModelFormatError, match="no convolution"):
        GradCamExplainer(build_exportable(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), height=8, width=8), 2)


def test_threads_that_share_a_model_get_the_maps_that_one_alone_gets(explainer: GradCamExplainer) -> None:
    alone = [explainer(image).heat for image in images_of(ROWS.batch)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: explainer(image).heat, [*images_of(ROWS.batch)] * 3))
    assert all(np.allclose(alone[place % len(alone)], heat, atol=1e-5) for place, heat in enumerate(together))


def test_no_picture_passes_through_while_anothers_map_is_made(explainer: GradCamExplainer) -> None:
    """Captum's hooks would take the passage that finds a picture's answer for the one whose map is being made."""
    inside, most = 0, 0

    def enter(*_: object) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.002)

    def leave(*_: object) -> None:
        nonlocal inside
        inside -= 1

    before = explainer._split_model.register_forward_pre_hook(enter)
    after = explainer._split_model.register_forward_hook(leave)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(explainer, images_of(ROWS.batch)[:16]))
    finally:
        before.remove()
        after.remove()
    assert most == 1
