"""An ONNX graph answers like the network it came from, and nothing else is loaded."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipelines.data import image_batch, images_of
from pipelines.engines.exportable import Exportable, build_exportable
from pipelines.engines.inference_engine import to_network_input
from pipelines.engines.onnx_engine import (
    OnnxEngine,
    export_if_equivalent,
    export_onnx,
    load_onnx_engine,
    onnx_engine_from_bytes,
)
from pipelines.engines.torch_engine import TorchEngine, to_tensor
from pipelines.errors import ModelFormatError
from pipelines.training.network import build_network
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")


@pytest.fixture(scope="module")
def module() -> Exportable:
    return build_exportable(build_network(TINY, 2, height=12, width=12, seed=3), height=12, width=12)


@pytest.fixture(scope="module")
def graph(module: Exportable) -> bytes:
    images = images_of(draw_bars(40, 1).batch)
    made = export_if_equivalent(module, image_batch(images), TorchEngine(module, CLASSES, 12, 12)(image_batch(images)))
    assert made is not None
    return made


def test_an_export_says_nothing_of_single_nodes(module: Exportable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    export_onnx(module)
    assert caplog.text == ""


def test_images_reach_both_engines_as_the_same_numbers() -> None:
    images = np.arange(144, dtype=np.uint8).reshape(1, 12, 12)
    assert np.array_equal(to_network_input(images), to_tensor(images).numpy())


def test_a_graph_that_answers_otherwise_is_not_kept(module: Exportable, caplog: pytest.LogCaptureFixture) -> None:
    images = images_of(draw_bars(8, 1).batch)
    answers = TorchEngine(module, CLASSES, 12, 12)(image_batch(images))
    answers[3, 0] += 0.01
    assert export_if_equivalent(module, image_batch(images), answers) is None
    assert "away from PyTorch: the graph is not kept" in caplog.text


class Unportable(nn.Module):
    """Uses an operator that ONNX does not have."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.linalg.eigvals(images[:, 0]).real
        return found[:, :2]


def test_a_network_that_cannot_be_exported_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="pipelines")
    images = images_of(draw_bars(4, 1).batch)
    made = export_if_equivalent(
        build_exportable(Unportable(), height=12, width=12), image_batch(images), np.zeros((4, 2), np.float32)
    )
    assert made is None
    assert "PyTorch will serve it" in caplog.text


def test_a_graph_for_other_classes_and_a_foreign_file_are_refused(graph: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="answers 2 classes, not 3"):
        onnx_engine_from_bytes(graph, ("a", "b", "c"), threads=1)
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelFormatError, match="cannot read the model"):
        load_onnx_engine(path, CLASSES)
    for content in (b"not a model", graph[: len(graph) // 2]):
        path.write_bytes(content)
        with pytest.raises(ModelFormatError, match=r"model\.onnx"):
            load_onnx_engine(path, CLASSES)
    path.write_bytes(graph)
    assert isinstance(load_onnx_engine(path, CLASSES), OnnxEngine)


def _elsewhere(model: Any) -> None:  # noqa: ANN401 - protobuf
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _custom(model: Any) -> None:  # noqa: ANN401
    model.graph.node[0].domain = "com.example"


def _nested(model: Any) -> None:  # noqa: ANN401
    attribute = model.graph.node[0].attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
    attribute.g.name = "inner"


def _function(model: Any) -> None:  # noqa: ANN401
    model.functions.add(name="f", domain="local")


def _fixed(model: Any) -> None:  # noqa: ANN401
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def _two_answers(model: Any) -> None:  # noqa: ANN401
    model.graph.output.add().CopyFrom(model.graph.output[0])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_elsewhere, "in another file"),
        (_custom, r"uses the operator com\.example\.Conv"),
        (_nested, "has a graph inside the operator Conv"),
        (_function, "holds functions"),
        (_fixed, "free number of images"),
        (_two_answers, "2 outputs"),
    ],
)
def test_a_graph_that_is_not_plain_is_refused(graph: bytes, spoil: Callable[[Any], None], complaint: str) -> None:
    model = onnx.load_model_from_string(graph)
    spoil(model)
    with pytest.raises(ModelFormatError, match=complaint):
        onnx_engine_from_bytes(model.SerializeToString(), CLASSES, threads=1)
