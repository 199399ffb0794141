"""Computes a saved model with PyTorch: pixels in, probabilities out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export.passes import move_to_device_pass

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.engines import safe_pt2
from pipelines.engines.inference_engine import (
    CHUNK_ROWS,
    TRANSIENT_ERRORS,
    DeviceName,
    InferenceEngine,
    read_model_bytes,
    to_network_input,
    unreadable_error,
)
from pipelines.errors import ModelFormatError
from registry.model_contract import ImageInputs


class TorchEngine(InferenceEngine):
    """A model that PyTorch computes; `threads` is set for each thread that calls it, None leaves that to the caller."""

    name = "torch"

    def __init__(
        self,
        module: nn.Module,
        classes: tuple[str, ...],
        height: int,
        width: int,
        device: DeviceName = "cpu",
        threads: int | None = None,
    ) -> None:
        super().__init__(ClassReader(classes), ImageInputs(height, width))
        self.module, self.device, self.threads = module, device, threads

    def limited_threads(self, threads: int) -> AbstractContextManager[None]:
        """Use this many intra-op threads inside the block, unless the engine has a number of its own."""
        return limit_threads(threads)

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            answer: NDArray[np.float32] = self.module(to_tensor(images_of(batch)).to(self.device)).cpu().numpy()
        return answer


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Images (n, height, width) as the network takes them: float32 (n, 1, height, width) from 0 to 1."""
    return torch.from_numpy(to_network_input(images))


def logits_of(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a network says before the softmax, (n, classes); images are uint8 (n, height, width)."""
    network.eval()
    starts = range(0, len(images), CHUNK_ROWS)
    with torch.inference_mode():
        parts = [network(to_tensor(images[at : at + CHUNK_ROWS])).numpy() for at in starts]
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)


def load_torch_engine(
    path: Path, classes: tuple[str, ...], *, device: DeviceName = "cpu", threads: int | None = None
) -> TorchEngine:
    """Read a pt2 archive without running any code it may hold."""
    content = read_model_bytes(path)
    try:
        program = torch.export.load(safe_pt2.sanitize(content))
        answers, height, width = _declared_shape(program)
        module = (program if device == "cpu" else move_to_device_pass(program, device)).module()
    except ModelFormatError as error:
        raise ModelFormatError(f"{path}: {error}") from error
    except TRANSIENT_ERRORS as error:
        raise unreadable_error(path, error) from error
    except Exception as error:  # torch raises anything on a broken graph; all mean one thing
        raise ModelFormatError(f"{path} is not a model this platform can read: {error}; export it again") from error
    if answers != len(classes):
        raise ModelFormatError(f"{path} answers {answers} classes, not {len(classes)}; name the right classes")
    return TorchEngine(module, classes, height, width, device, threads)


def _declared_shape(program: torch.export.ExportedProgram) -> tuple[int, int, int]:
    """Number of answers, height and width, as the exported graph declares them."""
    nodes = {node.name: node for node in program.graph.nodes}
    [given], [answered] = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    batch, channels, height, width = nodes[str(given)].meta["val"].shape
    rows, answers = nodes[str(answered)].meta["val"].shape
    if isinstance(batch, int) or isinstance(rows, int) or channels != 1:
        raise ModelFormatError(
            f"the model takes ({batch}, {channels}, {height}, {width}); "
            "export it with a free number of images and one channel"
        )
    return int(answers), int(height), int(width)


def set_threads(threads: int) -> None:
    """Use this many intra-op threads for calls from this thread on."""
    torch.set_num_threads(threads)


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Use this many intra-op threads for calls from this thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
