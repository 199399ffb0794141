"""What all inference engines share: base class, input, reading of the model's file, choice of library and device.

A model's file that is missing is a fault of its copy. One that cannot be opened for want of descriptors or memory is a
whole file: to call it damaged would end a rollout, or leave a version aside, for what passes. Nothing heavy is imported
before it is chosen: a process that answers with ONNX Runtime never loads PyTorch.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import AnswerReader, ClassReader
from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.errors import DataError, ModelFormatError, ModelUnreadableError
from registry.model_contract import ImageInputs, Inputs

log = logging.getLogger(__name__)
CHUNK_ROWS = 256
EngineName = Literal["onnx", "torch"]
DeviceName = Literal["cpu", "cuda"]
GPU_FILE: Final = Path("/dev/nvidiactl")
"""Where it is missing there is no NVIDIA GPU, and PyTorch need not be asked."""
TRANSIENT_ERRORS: Final = (OSError, MemoryError, ImportError)
"""What a library raises when the machine is short of something; it may as well find a library's own file unreadable."""


@dataclass(frozen=True)
class EngineConfig:
    """What computes answers: the library, where, and with how many intra-op threads per call."""

    engine: EngineName | Literal["auto"] = "auto"
    device: DeviceName | Literal["auto"] = "auto"
    threads: int = 1


class InferenceEngine(ABC):
    """A model ready to answer; it holds no state between calls, so threads may share it."""

    name: EngineName = "torch"
    device: DeviceName = "cpu"

    def __init__(self, reader: AnswerReader, inputs: Inputs) -> None:
        self.reader, self.inputs = reader, inputs

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes whose probabilities it gives; raises DataError where it answers something else."""
        if not isinstance(self.reader, ClassReader):
            raise DataError("this model tells no classes apart; use one that does")
        return self.reader.names

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that it takes; raises DataError where it takes something else."""
        if not isinstance(self.inputs, ImageInputs):
            raise DataError("this model takes no pictures; use one that does")
        return self.inputs.height, self.inputs.width

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Outputs (n, width) of rows that fit `inputs`, as `reader` reads them: of classes their probabilities."""
        self.validate(batch)
        if 0 < len(batch) <= CHUNK_ROWS:
            return self._predict_validated_chunk(batch)
        parts = [self._predict_validated_chunk(batch[i : i + CHUNK_ROWS]) for i in range(0, len(batch), CHUNK_ROWS)]
        return np.concatenate(parts) if parts else np.zeros((0, self.reader.width), dtype=np.float32)

    def validate(self, batch: Batch) -> None:
        """Raise DataError unless the rows have images, uint8 of shape (n, height, width)."""
        images, (height, width) = images_of(batch), self.image_size
        if images.ndim != 3 or images.shape[1:] != (height, width) or images.dtype != np.uint8:
            raise DataError(
                f"images of shape {images.shape} and type {images.dtype} do not fit this model; "
                f"give uint8 of shape (n, {height}, {width})"
            )

    def limited_threads(self, threads: int) -> AbstractContextManager[None]:
        """Use at most this many threads inside the block, for calls from this thread, where the library allows it.

        An engine that was loaded with its number of threads keeps it.
        """
        del threads
        return nullcontext()

    def _predict_validated_chunk(self, batch: Batch) -> NDArray[np.float32]:
        answer = self._predict_chunk(batch)
        if answer.shape != (len(batch), self.reader.width):
            given = " x ".join(map(str, answer.shape[1:])) or "no"
            raise ModelFormatError(
                f"the model answers {given} values per row, and its task needs {self.reader.width}; "
                "load it with the classes that it was trained on"
            )
        return answer

    @abstractmethod
    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        """Outputs of at most CHUNK_ROWS rows."""


def resolve_engine(config: EngineConfig) -> EngineName:
    """The engine a choice means: PyTorch where it says so or wants the GPU, ONNX Runtime otherwise."""
    if config.engine == "auto":
        return "torch" if config.device == "cuda" else "onnx"
    return config.engine


def resolve_device(config: EngineConfig) -> DeviceName:
    """Where PyTorch computes: as asked; `auto` takes the GPU where there is one."""
    if config.device == "auto":
        return "cuda" if gpu_available() else "cpu"
    return config.device


def gpu_available() -> bool:
    """Whether PyTorch can use an NVIDIA GPU."""
    if not GPU_FILE.exists():
        return False
    import torch

    return torch.cuda.is_available()


def available_engines() -> tuple[tuple[EngineName, DeviceName], ...]:
    """Every engine and device this host can answer with."""
    on_cpu: list[tuple[EngineName, DeviceName]] = [(name, "cpu") for name in get_args(EngineName)]
    return (*on_cpu, ("torch", "cuda")) if gpu_available() else tuple(on_cpu)


def to_network_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (n, height, width) as the network takes them: float32 (n, 1, height, width) from 0 to 1."""
    floats = images.astype(np.float32)
    floats /= np.float32(255.0)
    # Not `[:, None]`: the axis' stride would be 0, which PyTorch takes for another memory layout, with other last bits.
    return floats.reshape(len(images), 1, *images.shape[1:])


def read_model_bytes(path: Path) -> bytes:
    """The file's content. Raises ModelFormatError where there is none, ModelUnreadableError where it cannot be had."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFormatError(f"cannot read the model {path}: {error}; download it again") from error
    except TRANSIENT_ERRORS as error:
        raise unreadable_error(path, error) from error


def unreadable_error(path: Path | str, error: BaseException) -> ModelUnreadableError:
    """The error for a model that cannot be opened just now."""
    return ModelUnreadableError(f"the model {path} cannot be read now ({error or type(error).__name__}); try again")
