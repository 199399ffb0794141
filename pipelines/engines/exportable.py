"""The module that is registered, a network with its softmax and temperature, and its pt2 file."""

from __future__ import annotations

import math
import tempfile
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

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

    @property
    def example(self) -> torch.Tensor:
        """Two black images, float32 (2, 1, height, width), to trace the network with."""
        return torch.zeros((2, 1, self.height, self.width))

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The graph for any number of images, traced once: a network that changes afterwards needs a new module."""
        return torch.export.export(self, (self.example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Softmax over the network's logits, each divided by the temperature."""
        return torch.softmax(self.network(images) / self.temperature, dim=1)


def build_exportable(network: nn.Module, *, height: int = 28, width: int = 28, temperature: float = 1.0) -> Exportable:
    """The network as the module that is registered, in evaluation mode."""
    module = Exportable(network, height, width, temperature)
    module.eval()
    return module


def save_exportable(module: Exportable, path: Path) -> None:
    """Write the module as a pt2 archive that takes any number of images at once; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / "model.pt2"
        torch.export.save(module.program, whole)
        whole.replace(path)
