"""A predictor and its file."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.engines.exportable import Exportable, build_exportable, save_exportable
from pipelines.engines.latency import measure_latency
from pipelines.engines.torch_engine import TorchEngine, load_torch_engine
from pipelines.errors import ModelFormatError
from pipelines.training.network import build_network
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")


@pytest.fixture(scope="module")
def module() -> Exportable:
    return build_exportable(build_network(TINY, 2, height=12, width=12, seed=3), height=12, width=12)


@pytest.fixture(scope="module")
def saved(module: Exportable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "new" / "model.pt2"
    save_exportable(module, path)
    return path


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_a_saved_model_answers_like_the_one_in_memory(module: Exportable, saved: Path, rows: int) -> None:
    loaded = load_torch_engine(saved, CLASSES)
    batch = draw_bars(rows, 1).batch
    assert (loaded.classes, loaded.image_size) == (CLASSES, (12, 12))
    assert np.allclose(loaded(batch), TorchEngine(module, CLASSES, 12, 12)(batch), atol=1e-6)
    assert [path.name for path in saved.parent.iterdir()] == ["model.pt2"]


@pytest.mark.slow
def test_loading_a_model_unpickles_nothing(saved: Path) -> None:
    code = (
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from pipelines.engines.torch_engine import load_torch_engine\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(args) if event == 'pickle.find_class' else None)\n"
        "pickle.loads(pickle.dumps(Path()))\n"
        "assert seen, 'the hook hears pickles'\n"
        "seen.clear()\n"
        f"load_torch_engine(Path({str(saved)!r}), {CLASSES!r})\n"
        "print(seen)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.strip() == "[]"


def test_a_model_for_other_classes_is_refused(module: Exportable, saved: Path) -> None:
    with pytest.raises(ModelFormatError, match="answers 2 classes, not 3"):
        load_torch_engine(saved, ("a", "b", "c"))
    with pytest.raises(ModelFormatError, match="answers 2 values per row, and its task needs 3"):
        TorchEngine(module, ("a", "b", "c"), 12, 12)(draw_bars(1, 1).batch)


@pytest.mark.parametrize("content", [b"", b"not a model", pickle.dumps({"weights": 1})])
def test_a_foreign_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"model\.pt2: not a whole pt2 archive"):
        load_torch_engine(path, CLASSES)


def test_a_truncated_and_a_missing_file_are_refused(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "model.pt2"
    with pytest.raises(ModelFormatError, match="cannot read the model"):
        load_torch_engine(path, CLASSES)
    path.write_bytes(saved.read_bytes()[:-2000])
    with pytest.raises(ModelFormatError, match="not a whole pt2 archive"):
        load_torch_engine(path, CLASSES)


def test_a_model_that_takes_a_fixed_number_of_images_is_refused(module: Exportable, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(2, 1, 12, 12),)), path)
    with pytest.raises(ModelFormatError, match="free number of images"):
        load_torch_engine(path, CLASSES)


def test_a_model_that_does_not_take_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),)), path)
    with pytest.raises(ModelFormatError, match="not a model this platform can read"):
        load_torch_engine(path, CLASSES)


def test_latency_is_measured_per_call_without_the_warm_up(module: Exportable) -> None:
    ticks = iter(range(100_000))
    spent = measure_latency(TorchEngine(module, CLASSES, 12, 12), calls=7, warmup=3, clock=lambda: next(ticks) / 1000)
    assert spent == pytest.approx((1.0,) * 7)
