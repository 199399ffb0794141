"""Measures robustness: the accuracy that is left when images are corrupted or attacked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pipelines.data import Examples, image_batch, images_of
from pipelines.engines.graph_split import logits_module
from pipelines.engines.torch_engine import TorchEngine, to_tensor
from pipelines.evaluation.adversarial import count_correct, fgsm, pgd
from pipelines.image.corruptions import SEVERITIES, corrupt
from pipelines.input_evaluation import RobustnessScore

QUICK_ROWS = 200
QUICK_ATTACKED_ROWS = 100
QUICK_EPSILONS = (0.05, 0.1)
QUICK_PGD_STEPS = 10


def corruption_robustness(
    model: TorchEngine, rows: Examples, levels: Sequence[int] = (1, 2, 3)
) -> tuple[RobustnessScore, ...]:
    """Every kind of corruption at each level, on these rows."""
    scores = []
    for kind in SEVERITIES:
        for level in levels:
            answers = model(image_batch(corrupt(images_of(rows.batch), kind, level))).argmax(axis=1)
            scores.append(RobustnessScore(kind, level, int((answers == rows.labels).sum()), len(rows)))
    return tuple(scores)


def adversarial_robustness(
    network: nn.Module, rows: Examples, epsilons: Sequence[float], *, steps: int = QUICK_PGD_STEPS
) -> tuple[RobustnessScore, ...]:
    """FGSM and PGD of some steps at each epsilon against a network of logits, on these rows."""
    images, labels = to_tensor(images_of(rows.batch)), torch.from_numpy(rows.labels.copy())
    scores = []
    for epsilon in epsilons:
        once = count_correct(network, fgsm(network, images, labels, epsilon), labels)
        many = count_correct(network, pgd(network, images, labels, epsilon, steps=steps), labels)
        scores += [RobustnessScore("fgsm", epsilon, once, len(rows)), RobustnessScore("pgd", epsilon, many, len(rows))]
    return tuple(scores)


def quick_robustness(model: TorchEngine, golden: Examples) -> tuple[RobustnessScore, ...]:
    """What every run can afford: corruptions at levels 1 and 3 and attacks at two epsilons, on rows drawn by hash."""
    by_hash = np.argsort(np.array(golden.ids), kind="stable")  # a file's order may go by who wrote it
    some, few = golden.take(by_hash[:QUICK_ROWS]), golden.take(by_hash[:QUICK_ATTACKED_ROWS])
    corruptions = corruption_robustness(model, some, (1, 3))
    return (*corruptions, *adversarial_robustness(logits_module(model.module), few, QUICK_EPSILONS))
