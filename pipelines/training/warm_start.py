"""Warm start: takes a champion's weights over into a new network where they fit."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.engines.torch_engine import TorchEngine

NETWORK_PREFIX = "network."
"""Where an exported module keeps the network's own weights."""


def load_matching_weights(network: nn.Module, champion: TorchEngine) -> bool:
    """Give the network the champion's weights; False, and nothing changed, where the two are built differently.

    Weights and norms are taken over; what the optimizer remembered is gone with the champion's training.
    """
    champion_weights = {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in champion.module.state_dict().items()
        if name.startswith(NETWORK_PREFIX)
    }
    own_weights = network.state_dict()
    if champion_weights.keys() != own_weights.keys() or any(
        champion_weights[name].shape != value.shape for name, value in own_weights.items()
    ):
        return False
    with torch.no_grad():
        network.load_state_dict({name: value.clone() for name, value in champion_weights.items()})
    return True
