"""Reads the network of strings back from its exported graph, so that a training may begin with a version's weights."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from pipelines.engines.graph_check import load_plain_graph
from pipelines.errors import ModelFormatError
from pipelines.strings.string_network import StringNetwork, build_string_network

_PYTORCH_GATES: Final = (0, 2, 3, 1)
"""ONNX has the gates input, output, forget, cell; PyTorch input, forget, cell, output."""


def network_from_graph(content: bytes) -> StringNetwork:
    """The network whose graph `export_strings` wrote; raises ModelFormatError for a graph of another network."""
    tensors = [numpy_helper.to_array(tensor) for tensor in load_plain_graph(content).graph.initializer]
    weights = [tensor.astype(np.float32) for tensor in tensors if np.issubdtype(tensor.dtype, np.floating)]
    network = build_string_network(seed=0)
    norms = [layer for layer in network.convolutions if isinstance(layer, nn.BatchNorm2d)]
    convolutions = [layer for layer in network.convolutions if isinstance(layer, nn.Conv2d)]
    targets: list[torch.Tensor] = []
    for convolution, norm in zip(convolutions, norms, strict=True):
        buffers = [tensor for tensor in (norm.running_mean, norm.running_var) if tensor is not None]
        targets += [convolution.weight, norm.weight, norm.bias, *buffers]
    if len(weights) != len(targets) + 5:
        raise ModelFormatError(f"the graph holds {len(weights)} tensors of weights, not those of a network of strings")
    inputs, states, biases, classes, offsets = weights[len(targets) :]
    with torch.no_grad():
        for target, values in zip(targets, weights, strict=False):
            _copy(target, values)
        _copy_reader(network.reader, inputs, states, biases)
        _copy(network.classes.weight, classes.T)
        _copy(network.classes.bias, offsets)
    return network


def _copy_reader(
    reader: nn.LSTM, inputs: NDArray[np.float32], states: NDArray[np.float32], biases: NDArray[np.float32]
) -> None:
    """The weights of both directions, and their two offsets, which ONNX keeps in one row."""
    named = dict(reader.named_parameters())
    if inputs.ndim != 3 or states.ndim != 3 or biases.ndim != 2 or len({2, *map(len, (inputs, states, biases))}) != 1:
        raise ModelFormatError("the graph's reader is no LSTM in both directions; give a graph of strings")
    for place, side in enumerate(("l0", "l0_reverse")):
        offsets = np.split(biases[place], 2)
        _copy(named[f"weight_ih_{side}"], _gates(inputs[place]))
        _copy(named[f"weight_hh_{side}"], _gates(states[place]))
        _copy(named[f"bias_ih_{side}"], _gates(offsets[0]))
        _copy(named[f"bias_hh_{side}"], _gates(offsets[1]))


def _gates(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of four gates in PyTorch's order."""
    if len(rows) % 4:
        raise ModelFormatError(f"{len(rows)} rows are not those of four gates; give a graph of strings")
    parts = np.split(rows, 4)
    return np.concatenate([parts[place] for place in _PYTORCH_GATES])


def _copy(target: torch.Tensor, values: NDArray[np.float32]) -> None:
    if tuple(target.shape) != values.shape:
        raise ModelFormatError(
            f"the graph has weights of {values.shape} where a network of strings has {tuple(target.shape)}"
        )
    target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
