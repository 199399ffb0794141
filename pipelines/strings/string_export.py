"""Writes a trained network of strings as an ONNX graph whose weights are kept in half precision.

The graph is written operator by operator: PyTorch's exporter takes half a minute for an LSTM whose length is free.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipelines.engines.onnx_engine import open_session
from pipelines.errors import ModelFormatError
from pipelines.strings.ink import HEIGHT
from pipelines.strings.string_alphabet import BLANK
from pipelines.strings.string_engine import INPUT_NAME, OUTPUT_NAME, TEMPERATURE_KEY
from pipelines.strings.string_network import StringNetwork

MAX_ABS_DIFFERENCE: Final = 0.05
"""Largest difference of a probability between the network and its graph: half precision moves the third digit."""
LEAST_HALVED: Final = 256
"""Weights of a tensor from which on it is kept in half precision."""
CHECKED_WIDTHS: Final = (160, 98)
OPSET, IR_VERSION = 17, 8
_ONNX_GATES: Final = (0, 3, 1, 2)
"""PyTorch has the gates input, forget, cell, output; ONNX input, output, forget, cell."""

Weights = NDArray[np.float32]


def export_strings(network: StringNetwork, temperature: float) -> bytes:
    """The graph: float32 ink (1, 1, 32, width) in, log probabilities (1, width // 4, 11) out.

    Its metadata hold the temperature. Raises ModelFormatError where the graph answers otherwise than the network.
    """
    network.eval()
    writer = _GraphWriter()
    features = _convolutions(writer, network.convolutions)
    scores = _reader(writer, network, features)
    writer.add("LogSoftmax", [scores], output=OUTPUT_NAME, axis=2)
    graph = helper.make_graph(
        writer.nodes,
        "strings",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [1, 1, HEIGHT, "width"])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [1, "steps", BLANK + 1])],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mlplatform")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {TEMPERATURE_KEY: repr(temperature)})
    content: bytes = model.SerializeToString(deterministic=True)
    _check_alike(network, content)
    return content


class _GraphWriter:
    """The operators and the weights of a graph while it is written; each value is named by its number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        """Append an operator; returns the name of its output."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def weight(self, values: NDArray[np.generic]) -> str:
        """Keep a tensor, large ones in half precision, with a cast that a runtime folds away on opening."""
        name, halved = f"weight_{len(self.weights)}", values.dtype == np.float32 and values.size >= LEAST_HALVED
        self.weights.append(numpy_helper.from_array(values.astype(np.float16) if halved else values, name))
        return self.add("Cast", [name], to=TensorProto.FLOAT) if halved else name


def _convolutions(writer: _GraphWriter, layers: nn.Sequential) -> str:
    """Blocks of a convolution, perhaps pooling, a batch norm and a ReLU."""
    value, remaining = INPUT_NAME, list(layers)
    while remaining:
        convolution = remaining.pop(0)
        pooling = remaining.pop(0) if isinstance(remaining[0], nn.MaxPool2d) else None
        norm, _ = remaining.pop(0), remaining.pop(0)
        if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise ModelFormatError(f"a block of {type(convolution).__name__} and {type(norm).__name__}; export another")
        weights = writer.weight(_array(convolution.weight))
        value = writer.add("Conv", [value, weights], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        if pooling is not None:
            size = list(pooling.kernel_size) if isinstance(pooling.kernel_size, tuple) else [pooling.kernel_size] * 2
            value = writer.add("MaxPool", [value], kernel_shape=size, strides=size)
        value = writer.add("BatchNormalization", [value, *_norm(writer, norm)], epsilon=norm.eps)
        value = writer.add("Relu", [value])
    return value


def _norm(writer: _GraphWriter, norm: nn.BatchNorm2d) -> list[str]:
    return [
        writer.weight(_array(tensor))
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        if tensor is not None
    ]


def _reader(writer: _GraphWriter, network: StringNetwork, features: str) -> str:
    """Columns of features (1, channels, rows, steps) through the LSTM in both directions; logits (1, steps, 11)."""
    reader, hidden = network.reader, network.reader.hidden_size
    columns = writer.add("Reshape", [features, writer.weight(np.array([1, reader.input_size, -1], np.int64))])
    steps = writer.add("Transpose", [columns], perm=[2, 0, 1])  # (steps, 1, features)
    named = dict(reader.named_parameters())
    sides = ("l0", "l0_reverse")
    inputs = writer.weight(np.stack([_gates(named[f"weight_ih_{side}"]) for side in sides]))
    states = writer.weight(np.stack([_gates(named[f"weight_hh_{side}"]) for side in sides]))
    biases = writer.weight(
        np.stack([np.concatenate([_gates(named[f"bias_{part}_{side}"]) for part in ("ih", "hh")]) for side in sides])
    )
    read = writer.add("LSTM", [steps, inputs, states, biases], hidden_size=hidden, direction="bidirectional")
    ordered = writer.add("Transpose", [read], perm=[2, 0, 1, 3])  # (steps, 2, 1, hidden) to (1, steps, 2, hidden)
    joined = writer.add("Reshape", [ordered, writer.weight(np.array([1, -1, 2 * hidden], np.int64))])
    classes = network.classes
    product = writer.add("MatMul", [joined, writer.weight(np.ascontiguousarray(_array(classes.weight).T))])
    return writer.add("Add", [product, writer.weight(_array(classes.bias))])


def _gates(tensor: torch.Tensor) -> Weights:
    """The rows of four gates in ONNX's order."""
    parts = np.split(_array(tensor), 4)
    return np.concatenate([parts[place] for place in _ONNX_GATES])


def _array(tensor: torch.Tensor) -> Weights:
    return np.ascontiguousarray(tensor.detach().numpy())


def _check_alike(network: nn.Module, content: bytes) -> None:
    session = open_session(content, threads=1)
    for width in CHECKED_WIDTHS:
        ink = np.random.default_rng(width).random((1, 1, HEIGHT, width), dtype=np.float32)
        [answer] = session.run([OUTPUT_NAME], {INPUT_NAME: ink})
        with torch.inference_mode():
            expected = torch.log_softmax(network(torch.from_numpy(ink)), dim=2).numpy()
        if answer.shape != expected.shape or not np.abs(np.exp(answer) - np.exp(expected)).max() <= MAX_ABS_DIFFERENCE:
            raise ModelFormatError(f"the ONNX graph answers otherwise than the network at {width} columns; not kept")
