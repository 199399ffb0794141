"""Every built-in engine keeps the contract of engines."""

from pathlib import Path
from typing import ClassVar

import pytest

from pipelines.engines.executorch_engine import load_executorch_engine, to_executorch
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.onnx_engine import load_onnx_engine
from pipelines.engines.torch_engine import load_torch_engine
from registry.model_package import MODEL_FILE, ONNX_FILE
from tests.support.engine_contract import (  # noqa: F401 - the last two are fixtures
    CLASSES,
    SIDE,
    EngineContract,
    network,
    version_folder,
)


class TestOnnx(EngineContract):
    file: ClassVar = ONNX_FILE

    def load(self, folder: Path, classes: tuple[str, ...]) -> InferenceEngine:
        return load_onnx_engine(folder / ONNX_FILE, classes, threads=1)


class TestTorch(EngineContract):
    file: ClassVar = MODEL_FILE

    def load(self, folder: Path, classes: tuple[str, ...]) -> InferenceEngine:
        return load_torch_engine(folder / MODEL_FILE, classes)


class TestExecuTorch(EngineContract):
    file: ClassVar = "model.pte"
    tolerance: ClassVar = 1e-4

    def prepare(self, folder: Path) -> None:
        pytest.importorskip("executorch", reason="ExecuTorch is not installed")
        if not (folder / self.file).exists():
            (folder / self.file).write_bytes(to_executorch(folder / MODEL_FILE, CLASSES))

    def load(self, folder: Path, classes: tuple[str, ...]) -> InferenceEngine:
        return load_executorch_engine(folder / self.file, classes, SIDE, SIDE)
