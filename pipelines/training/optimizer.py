"""The optimizer of a training, its learning rate over the steps, and the mean of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pipelines.recipe import NetworkRecipe

WARMUP_SHARE = 0.2
"""Share of a one-cycle's steps in which the rate climbs."""
INITIAL_RATE_SHARE, FINAL_RATE_SHARE = 0.1, 0.002
"""A one-cycle's first and last rate, as shares of the highest."""


def one_cycle_rate(step: int, steps: int, peak_rate: float) -> float:
    """The one-cycle's learning rate at a step from 0: a straight climb, then half a cosine."""
    climb = max(1, round(WARMUP_SHARE * steps))
    if step < climb:
        return peak_rate * (INITIAL_RATE_SHARE + (1 - INITIAL_RATE_SHARE) * step / climb)
    done = min(1.0, (step - climb) / max(1, steps - 1 - climb))
    return peak_rate * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 + math.cos(math.pi * done)) / 2)


class ScheduledOptimizer:
    """A recipe's optimizer with its schedule; it moves the network's weights in place."""

    def __init__(self, network: nn.Module, recipe: NetworkRecipe, steps: int) -> None:
        self._recipe, self._steps, self._step = recipe, steps, 0
        self._is_one_cycle = recipe.schedule == "one-cycle"
        kind = torch.optim.AdamW if self._is_one_cycle else torch.optim.Adam
        self._optimizer = kind(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._optimizer, factor=0.5, patience=recipe.plateau_patience
        )
        self._set_rate()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, loss: torch.Tensor) -> None:
        """Move the weights against the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._step += 1
        self._set_rate()

    def end_epoch(self, validation_loss: float) -> None:
        """A plateau schedule halves the rate when the loss stands still."""
        if not self._is_one_cycle:
            self._plateau.step(validation_loss)

    def state(self) -> dict[str, Any]:
        """All that goes on with the next step."""
        return {"optimizer": self._optimizer.state_dict(), "plateau": self._plateau.state_dict(), "step": self._step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._plateau.load_state_dict(state["plateau"])
        self._step = int(state["step"])

    def _set_rate(self) -> None:
        if self._is_one_cycle:
            for group in self._optimizer.param_groups:
                group["lr"] = one_cycle_rate(self._step, self._steps, self._recipe.learning_rate)


class WeightAverage:
    """The running mean of a network's weights and norms, as a network of its own."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._decay, self._steps = decay, 0
        own, seen = self.network.state_dict(), network.state_dict()
        self._pairs = [(own[key], seen[key]) for key in own]

    def update(self) -> None:
        """Take in the network's present weights; the first steps weigh more, so that the start is soon forgotten."""
        self._steps += 1
        share = min(self._decay, self._steps / (self._steps + 10))
        with torch.no_grad():
            for mean, now in self._pairs:
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - share)
                else:
                    mean.copy_(now)

    def state(self) -> dict[str, Any]:
        """The mean as it stands."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a mean that was kept."""
        self.network.load_state_dict(state["network"])
        self._steps = int(state["steps"])
