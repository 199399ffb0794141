"""The robustness of a model: how many rows it still reads right when pictures are corrupted or attacked; no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipelines.data import ImageSet
from pipelines.engines.graph_split import logits_module
from pipelines.engines.torch_engine import Predictor, as_batch
from pipelines.evaluation.adversarial import fgsm, pgd, right_under
from pipelines.evaluation.classification_scores import wilson
from pipelines.image.corruptions import LEVELS, corrupted

CHEAP_ROWS = 200
CHEAP_ATTACKED = 100
CHEAP_EPSILONS = (0.05, 0.1)
CHEAP_PGD_STEPS = 10


@dataclass(frozen=True)
class Bearing:
    """How many of the rows were read right under one kind of harm at one level (or epsilon)."""

    kind: str
    level: float
    right: int
    rows: int

    @property
    def accuracy(self) -> float:
        """Share of rows read right."""
        return self.right / self.rows

    @property
    def limits(self) -> tuple[float, float]:
        """Its 95 % interval (Wilson)."""
        return wilson(self.right, self.rows)

    @property
    def metric(self) -> str:
        """Its stable name for a tracking server, without a prefix."""
        return f"{self.kind}_{self.level:g}".replace(" ", "_").replace(".", "p")


def under_corruptions(made: Predictor, rows: ImageSet, levels: Sequence[int] = (1, 2, 3)) -> tuple[Bearing, ...]:
    """Every kind of corruption at each level, on these rows."""
    found = []
    for kind in LEVELS:
        for level in levels:
            answers = made(corrupted(rows.images, kind, level)).argmax(axis=1)
            found.append(Bearing(kind, level, int((answers == rows.labels).sum()), len(rows)))
    return tuple(found)


def under_attack(
    network: nn.Module, rows: ImageSet, epsilons: Sequence[float], *, steps: int = CHEAP_PGD_STEPS
) -> tuple[Bearing, ...]:
    """FGSM and PGD of some steps at each epsilon against a network of logits, on these rows."""
    images, labels = as_batch(rows.images), torch.from_numpy(rows.labels.copy())
    found = []
    for epsilon in epsilons:
        once = right_under(network, fgsm(network, images, labels, epsilon), labels)
        many = right_under(network, pgd(network, images, labels, epsilon, steps=steps), labels)
        found += [Bearing("fgsm", epsilon, once, len(rows)), Bearing("pgd", epsilon, many, len(rows))]
    return tuple(found)


def cheap_look(made: Predictor, golden: ImageSet) -> tuple[Bearing, ...]:
    """What every run can afford: corruptions at levels 1 and 3 and attacks at two epsilons, on rows drawn by hash."""
    by_hash = np.argsort(np.array(golden.ids), kind="stable")  # a file's order may go by who wrote it
    some, few = golden.take(by_hash[:CHEAP_ROWS]), golden.take(by_hash[:CHEAP_ATTACKED])
    corruptions = under_corruptions(made, some, (1, 3))
    return (*corruptions, *under_attack(logits_module(made.module), few, CHEAP_EPSILONS))
