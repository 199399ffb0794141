"""A network's own view of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.data import image_batch, images_of
from pipelines.engines.embedding import Embedder, embed
from pipelines.engines.exportable import Exportable, build_exportable, save_exportable
from pipelines.engines.torch_engine import TorchEngine, load_torch_engine
from pipelines.errors import DataError, ModelFormatError
from pipelines.training.network import build_network
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    made = build_network(TINY, 2, height=12, width=12, seed=3)
    assert isinstance(made, nn.Sequential)
    return made.eval()


@pytest.fixture(scope="module")
def loaded(network: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    path = tmp_path_factory.mktemp("models") / "model.pt2"
    save_exportable(build_exportable(network, height=12, width=12), path)
    return load_torch_engine(path, CLASSES)


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_the_embedding_is_what_the_last_layer_is_given(network: nn.Sequential, loaded: TorchEngine, rows: int) -> None:
    images = images_of(draw_bars(rows, 1).batch)
    found = Embedder(loaded)(image_batch(images))
    with torch.inference_mode():
        before = network[:-1](torch.from_numpy(images.astype(np.float32) / 255.0)[:, None]).numpy()
    assert (found.shape, found.dtype) == ((rows, TINY.hidden), np.dtype(np.float32))
    assert np.allclose(found, before, atol=1e-5)


def test_cutting_a_model_leaves_its_answers_alone(loaded: TorchEngine) -> None:
    images = images_of(draw_bars(7, 2).batch)
    before = loaded(image_batch(images))
    embed(loaded, image_batch(images))
    assert np.array_equal(loaded(image_batch(images)), before)


def test_no_images_have_an_embedding_of_no_rows(loaded: TorchEngine) -> None:
    assert embed(loaded, image_batch(np.zeros((0, 12, 12), dtype=np.uint8))).shape == (0, TINY.hidden)


def test_images_of_another_size_are_refused(loaded: TorchEngine) -> None:
    with pytest.raises(DataError, match="do not fit this model"):
        embed(loaded, image_batch(np.zeros((1, 9, 9), dtype=np.uint8)))


def test_a_module_that_was_not_exported_is_refused(network: nn.Sequential) -> None:
    predictor = TorchEngine(build_exportable(network, height=12, width=12), CLASSES, 12, 12)
    with pytest.raises(ModelFormatError, match="has no exported graph; load the model from its file"):
        embed(predictor, draw_bars(1, 1).batch)


def test_a_model_without_a_linear_layer_is_refused(tmp_path: Path) -> None:
    convolution = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    path: Path = tmp_path / "model.pt2"
    module: Exportable = build_exportable(convolution, height=12, width=12)
    save_exportable(module, path)
    with pytest.raises(ModelFormatError, match="has no linear layer"):
        embed(load_torch_engine(path, CLASSES), draw_bars(1, 1).batch)
