"""The engine that answers is the one asked for, and a version without its file is still answered."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.data import image_batch, images_of
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.inference_engine import (
    EngineConfig,
    available_engines,
    gpu_available,
    resolve_device,
    resolve_engine,
)
from pipelines.engines.onnx_engine import export_onnx
from pipelines.loading import load_engine
from pipelines.training.network import build_network
from registry.model_contract import image_classifier
from registry.model_package import MODEL_FILE, ONNX_FILE
from tests.support.bars import TINY, draw_bars

CONTRACT = image_classifier(("upright", "lying"), 12, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version's files, both of them."""
    made = tmp_path_factory.mktemp("version")
    module = build_exportable(build_network(TINY, 2, height=12, width=12, seed=3), height=12, width=12)
    save_exportable(module, made / MODEL_FILE)
    (made / ONNX_FILE).write_bytes(export_onnx(module))
    return made


def test_onnx_answers_unless_torch_or_the_gpu_is_asked_for() -> None:
    assert resolve_engine(EngineConfig()) == resolve_engine(EngineConfig(device="cpu")) == "onnx"
    assert resolve_engine(EngineConfig(device="cuda")) == resolve_engine(EngineConfig(engine="torch")) == "torch"
    assert resolve_device(EngineConfig(device="cpu")) == "cpu"


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_each_engine_opens_its_own_file(folder: Path, name: str) -> None:
    model = load_engine(folder, CONTRACT, EngineConfig(engine=name, device="cpu"))  # type: ignore[arg-type]
    assert (model.name, model.device) == (name, "cpu")
    images = images_of(draw_bars(6, 2).batch)
    other = load_engine(folder, CONTRACT, EngineConfig(engine="torch", device="cpu"))
    assert np.allclose(model(image_batch(images)), other(image_batch(images)), atol=1e-5)


def test_a_version_without_a_graph_is_answered_by_torch_and_the_log_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / MODEL_FILE).parent.mkdir()
    (tmp_path / MODEL_FILE).write_bytes((folder / MODEL_FILE).read_bytes())
    model = load_engine(tmp_path, CONTRACT, EngineConfig(engine="onnx", device="cpu"))
    assert model.name == "torch"
    assert "has no ONNX graph" in caplog.text


def test_torch_answers_with_the_threads_of_the_choice(folder: Path) -> None:
    before = torch.get_num_threads()
    model = load_engine(folder, CONTRACT, EngineConfig(engine="torch", device="cpu", threads=before + 1))
    model(draw_bars(1, 2).batch)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)


def test_the_gpu_is_among_the_engines_exactly_where_there_is_one() -> None:
    assert available_engines()[:2] == (("onnx", "cpu"), ("torch", "cpu"))
    assert (("torch", "cuda") in available_engines()) == gpu_available()


def test_a_process_that_answers_with_onnx_never_loads_torch(folder: Path) -> None:
    code = (
        "import sys, numpy\nfrom pathlib import Path\n"
        "from pipelines.engines.inference_engine import EngineConfig\n"
        "from pipelines.loading import load_engine\n"
        "from registry.model_contract import image_classifier\n"
        "contract = image_classifier(('upright', 'lying'), 12, 12)\n"
        f"model = load_engine(Path({str(folder)!r}), contract, EngineConfig(engine='onnx'))\n"
        "from pipelines.data import image_batch\n"
        "print(model(image_batch(numpy.zeros((1, 12, 12), numpy.uint8))).shape, 'torch' in sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "(1, 2) False"
