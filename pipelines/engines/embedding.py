"""Computes embeddings of images, the activations before a network's last layer, for drift and duplicates."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.engines.inference_engine import CHUNK_ROWS
from pipelines.engines.torch_engine import TorchEngine, to_tensor
from pipelines.errors import ModelFormatError

_INPUT_ARGUMENT: Final[dict[str, int]] = {"aten.linear.default": 0, "aten.addmm.default": 1, "aten.mm.default": 0}
"""Which argument of a linear layer is its input, for each form an exported graph writes it in."""


class Embedder:
    """The part of a predictor below its last linear layer; cut once, used often, the weights are shared."""

    def __init__(self, predictor: TorchEngine) -> None:
        """Raise ModelFormatError where the model is no exported graph or has no linear layer."""
        self._predictor = predictor
        self._module = _without_last_layer(predictor.module)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Activations (n, d) of rows with images, the input of the last linear layer."""
        self._predictor.validate(batch)
        images = images_of(batch)
        starts = range(0, max(len(images), 1), CHUNK_ROWS)  # no images still tell the width
        with torch.inference_mode():
            parts = [self._module(to_tensor(images[i : i + CHUNK_ROWS])).numpy() for i in starts]
        return np.concatenate(parts)


def embed(predictor: TorchEngine, batch: Batch) -> NDArray[np.float32]:
    """What `Embedder` gives, for one use."""
    return Embedder(predictor)(batch)


def _without_last_layer(module: torch.nn.Module) -> fx.GraphModule:
    """The same graph on the same weights, answering what its last linear layer is given."""
    if not isinstance(module, fx.GraphModule):
        raise ModelFormatError(f"a {type(module).__name__} has no exported graph; load the model from its file")
    last = _last_input(module.graph)
    needed, kept = [last], {last}
    while needed:
        fresh = [node for node in needed.pop().all_input_nodes if node not in kept]
        kept.update(fresh)
        needed.extend(fresh)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node in kept or node.op == "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[last])
    return fx.GraphModule(module, graph)


def _last_input(graph: fx.Graph) -> fx.Node:
    for node in reversed(graph.nodes):
        place = _INPUT_ARGUMENT.get(str(node.target)) if node.op == "call_function" else None
        if place is not None:
            node_input: Any = node.args[place]
            if isinstance(node_input, fx.Node) and node_input.meta["val"].dim() == 2:
                return node_input
    raise ModelFormatError("the model has no linear layer, so it has no embedding; compare its answers instead")
