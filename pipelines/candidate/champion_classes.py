"""Lets a champion be compared on the classes of a pipeline that has changed since: gained, lost or moved some."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pipelines.engines.torch_engine import TorchEngine


class _Realigned(nn.Module):
    """A model's probabilities by other places; a class that it does not know has the probability 0."""

    def __init__(self, model: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.model, self.places = model, torch.tensor(places)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        known = self.model(images)
        absent = torch.zeros(len(known), 1, dtype=known.dtype)
        return torch.cat((known, absent), dim=1)[:, self.places]


def align_champion(engine: TorchEngine, classes: tuple[str, ...]) -> TorchEngine:
    """The same model answering for these classes: those it does not know it never names.

    Of a class that is none any more it may be sure all the same; then it is judged by what it holds for next likely.
    """
    if engine.classes == classes:
        return engine
    places = [engine.classes.index(name) if name in engine.classes else len(engine.classes) for name in classes]
    return TorchEngine(_Realigned(engine.module, places), classes, engine.height, engine.width)
