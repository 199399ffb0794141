"""Exports a model as an ExecuTorch program (.pte), for phones and boards, and computes with it.

ExecuTorch is the successor of PyTorch Mobile (https://docs.pytorch.org/executorch/). The layers that XNNPACK knows are
lowered to it. A program answers one image at a time: a device has one image to read, and its memory is planned ahead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.log_suppression import suppress_logs
from pipelines.engines.torch_engine import load_torch_engine, to_tensor
from pipelines.errors import ModelFormatError
from registry.model_contract import ImageInputs

MISSING_EXTRA_MESSAGE = "ExecuTorch is not installed; pip install 'mlplatform[executorch]', or export --format onnx"


def to_executorch(path: Path, classes: tuple[str, ...]) -> bytes:
    """The program of a version's pt2 graph: float32 (1, 1, height, width) in, probabilities (1, classes) out.

    Raises ModelFormatError where ExecuTorch is missing or cannot lower the graph.
    """
    engine = load_torch_engine(path, classes)
    example = torch.zeros((1, 1, *engine.image_size))
    with suppress_logs("", "torch"):
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise ModelFormatError(MISSING_EXTRA_MESSAGE) from error
        try:
            program = torch.export.export(engine.module, (example,))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        except Exception as error:  # whatever its passes raise, they mean one thing
            raise ModelFormatError(f"ExecuTorch cannot lower {path}: {error}; export --format onnx") from error
    return bytes(lowered.buffer)


def load_executorch_engine(path: Path, classes: tuple[str, ...], height: int, width: int) -> ExecuTorchEngine:
    """Read a program with ExecuTorch's own runtime; raises ModelFormatError."""
    with suppress_logs("", "torch"):
        try:
            from executorch.runtime import Runtime
        except ImportError as error:
            raise ModelFormatError(MISSING_EXTRA_MESSAGE) from error
        try:
            program = Runtime.get().load_program(path)
            method = program.load_method("forward")
        except Exception as error:  # the runtime raises anything on a broken file; all mean one thing
            raise ModelFormatError(f"{path} is no program ExecuTorch can run: {error}; export it again") from error
    return ExecuTorchEngine(program, method, classes, height, width)


class ExecuTorchEngine(InferenceEngine):
    """A model that ExecuTorch answers, image by image."""

    def __init__(self, program: Any, method: Any, classes: tuple[str, ...], height: int, width: int) -> None:  # noqa: ANN401 - untyped library
        super().__init__(ClassReader(classes), ImageInputs(height, width))
        self._program, self._method = program, method  # the method points into the program

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        answers = [self._method.execute([one[None]])[0].numpy().copy() for one in to_tensor(images_of(batch))]
        whole: NDArray[np.float32] = np.concatenate(answers)
        return whole
