"""Splits an exported graph where gradients are wanted: before the softmax, after the last convolution.

Gradients of probabilities vanish where a model is sure, so attacks and explanations need what comes before them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final

import torch
from torch import fx, nn

from pipelines.engines.exportable import Exportable
from pipelines.errors import ModelFormatError

_SOFTMAX: Final = ("aten.softmax.int", "aten._softmax.default")
_CONVOLUTION: Final = ("aten.conv2d.default", "aten.convolution.default")
_ACTIVATION: Final = ("aten.relu.default", "aten.relu_.default", "aten.silu.default", "aten.gelu.default")
_NORM: Final = ("aten.batch_norm.default", "aten._native_batch_norm_legit_no_training.default")


class SplitModel(nn.Module):
    """A model that answers logits, in two parts: `body` up to its last convolution block, `head` from there."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of float images (n, 1, height, width)."""
        answered: torch.Tensor = self.head(self.body(images))
        return answered


def logits_module(module: nn.Module) -> nn.Module:
    """The model without its last softmax, on the same weights.

    Raises ModelFormatError where the model is neither an exported graph nor an `Exportable`.
    """
    graph = _exported_graph(module)
    return _subgraph(graph, _input_node(graph), _logits_node(graph))


def split_at_last_conv(module: nn.Module) -> SplitModel:
    """The model without its last softmax, cut behind its last convolution (and the norm and activation after it).

    Raises ModelFormatError where there is no convolution.
    """
    graph = _exported_graph(module)
    cut = next((node for node in reversed(graph.graph.nodes) if str(node.target) in _CONVOLUTION), None)
    if cut is None:
        raise ModelFormatError("the model has no convolution, so no picture of where it looks; use another model")
    while len(cut.users) == 1:
        [follower] = cut.users
        first = _first_norm_output(follower)
        if first is not None:
            cut = first
        elif str(follower.target) in (*_ACTIVATION, *_NORM):
            cut = follower
        else:
            break
    return SplitModel(_subgraph(graph, _input_node(graph), cut), _subgraph(graph, cut, _logits_node(graph)))


def _exported_graph(module: nn.Module) -> fx.GraphModule:
    if isinstance(module, fx.GraphModule):
        return module
    if isinstance(module, Exportable):
        graph = module.program.module()
        assert isinstance(graph, fx.GraphModule)
        return graph
    raise ModelFormatError(f"a {type(module).__name__} has no graph to cut; load the model from its file")


def _first_norm_output(node: fx.Node) -> fx.Node | None:
    """The first of several results, where a norm gives more than one."""
    if node.op == "call_function" and node.target is operator.getitem and node.args[1] == 0:
        return node
    return None


def _input_node(module: fx.GraphModule) -> fx.Node:
    placeholders: list[fx.Node] = [node for node in module.graph.nodes if node.op == "placeholder"]
    return placeholders[0]


def _logits_node(module: fx.GraphModule) -> fx.Node:
    """What the softmax is given, or what the graph answers where it has none."""
    output: fx.Node = next(node for node in reversed(module.graph.nodes) if node.op == "output").all_input_nodes[0]
    return output.all_input_nodes[0] if str(output.target) in _SOFTMAX else output


def _subgraph(module: fx.GraphModule, start: fx.Node, end: fx.Node) -> fx.GraphModule:
    """The graph from one node to another on the same weights; raises ModelFormatError where others lead there, too."""
    needed = _nodes_between(start, end)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {start: graph.placeholder("given")}
    for node in module.graph.nodes:
        if node in needed and node is not start:
            if node.op == "placeholder":
                raise ModelFormatError("the graph goes around its last convolution; this model cannot be cut there")
            copies[node] = graph.node_copy(node, _node_mapping(copies))
    graph.output(copies[end])
    part = fx.GraphModule(module, graph)
    part.recompile()
    return part


def _nodes_between(start: fx.Node, end: fx.Node) -> set[fx.Node]:
    between, waiting = {end}, [end]
    while waiting:
        node = waiting.pop()
        fresh = [] if node is start else [source for source in node.all_input_nodes if source not in between]
        between.update(fresh)
        waiting.extend(fresh)
    return between


def _node_mapping(copies: dict[fx.Node, fx.Node]) -> Callable[[fx.Node], fx.Node]:
    return copies.__getitem__
