"""A predictor, pixels in and probabilities out, and its file; refuses to know registries and training."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export.passes import move_to_device_pass

from pipelines.engines import safe_pt2
from pipelines.engines.inference_engine import CHUNK_ROWS, DeviceName, InferenceEngine
from pipelines.engines.model_file import TRANSIENT_ERRORS, read_model_bytes, unreadable_error
from pipelines.errors import ModelFormatError


class Exportable(nn.Module):
    """The module that is registered: float32 (n, 1, h, w) from 0 to 1 in, probabilities (n, classes) out.

    The logits are divided by `temperature`, so that a server's confidence is one to be believed.
    """

    def __init__(self, network: nn.Module, height: int, width: int, temperature: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise ModelFormatError(f"temperature is {temperature}; give a finite number above 0, 1 changes nothing")
        self.network = network
        self.height, self.width, self.temperature = height, width, temperature

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Softmax over the network's logits, each divided by the temperature."""
        return torch.softmax(self.network(images) / self.temperature, dim=1)


class TorchEngine(InferenceEngine):
    """A model that PyTorch answers; `threads` is set for each thread that calls it, None leaves that to the caller."""

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
        super().__init__(classes, height, width)
        self.module, self.device, self.threads = module, device, threads

    def _predict_chunk(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            answer: NDArray[np.float32] = self.module(to_batch(images).to(self.device)).cpu().numpy()
        return answer


def to_batch(images: NDArray[np.uint8]) -> torch.Tensor:
    """Images (n, height, width) as the network takes them: float32 (n, 1, height, width) from 0 to 1."""
    return torch.from_numpy(images.astype(np.float32)).div_(255.0).unsqueeze(1)


def logits_of(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a network says before the softmax, (n, classes); images are uint8 (n, height, width)."""
    network.eval()
    starts = range(0, len(images), CHUNK_ROWS)
    with torch.inference_mode():
        parts = [network(to_batch(images[at : at + CHUNK_ROWS])).numpy() for at in starts]
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)


def build_exportable(network: nn.Module, *, height: int = 28, width: int = 28, temperature: float = 1.0) -> Exportable:
    """The network as the module that is registered, in evaluation mode."""
    module = Exportable(network, height, width, temperature)
    module.eval()
    return module


def save_exportable(module: Exportable, path: Path) -> None:
    """Write the module as a pt2 archive that takes any number of images at once; whole or not at all."""
    example = torch.zeros((2, 1, module.height, module.width))
    program = torch.export.export(module, (example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / "model.pt2"
        torch.export.save(program, whole)
        whole.replace(path)


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


def measure_latency(
    predictor: InferenceEngine,
    calls: int = 200,
    warmup: int = 20,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Milliseconds of each single-image call, after some that are not counted."""
    images = _random_images(predictor, calls + warmup, seed)
    return tuple(_call_milliseconds(predictor, image, clock) for image in images)[warmup:]


def measure_interleaved(
    first: InferenceEngine,
    second: InferenceEngine,
    calls: int = 60,
    warmup: int = 10,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same of two models that are called by turns, each on every image; which one begins alternates."""
    spent: tuple[list[float], list[float]] = ([], [])
    for place, image in enumerate(_random_images(first, calls + warmup, seed)):
        for which in (0, 1) if place % 2 else (1, 0):
            spent[which].append(_call_milliseconds((first, second)[which], image, clock))
    return tuple(spent[0][warmup:]), tuple(spent[1][warmup:])


def _random_images(model: InferenceEngine, images: int, seed: int) -> NDArray[np.uint8]:
    size = (images, 1, model.height, model.width)
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def _call_milliseconds(model: InferenceEngine, image: NDArray[np.uint8], clock: Callable[[], float]) -> float:
    begun = clock()
    model(image)
    return (clock() - begun) * 1000.0


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
