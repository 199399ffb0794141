"""Made-up rows and evidence on which the tests of the gate agree."""

from typing import Any

import numpy as np

from registry.gate.evidence import GateEvidence
from registry.gate.paired_comparison import PairedPredictions

CLASSES = tuple("0123456789")


def arranged(
    generator: np.random.Generator, n: int, champion: float, candidate: float, disagreement: float, origin: str
) -> PairedPredictions:
    """Rows on which the models truly have these accuracies and, beyond the difference, disagree on a share of rows."""
    gains = disagreement / 2 + max(candidate - champion, 0.0)
    losses = disagreement / 2 + max(champion - candidate, 0.0)
    both = champion - losses
    labels, luck = generator.integers(0, 10, n), generator.random(n)
    wrong = (labels + 1) % 10
    only_champion = (luck >= both + gains) & (luck < both + gains + losses)
    return PairedPredictions(
        labels,
        np.where((luck < both) | only_champion, labels, wrong),
        np.where(luck < both + gains, labels, wrong),
        origin,
    )


def exact(
    champion_right: int, candidate_right: int, n: int, label: int = 0, origin: str = "golden"
) -> PairedPredictions:
    """Rows of one class where the better model is right on all rows that the other is right on."""
    labels = np.full(n, label)
    wrong = (label + 1) % 10
    rank = np.arange(n)
    return PairedPredictions(
        labels,
        np.where(rank < champion_right, label, wrong),
        np.where(rank < candidate_right, label, wrong),
        origin,
    )


def evidence(golden: PairedPredictions, feedback: PairedPredictions | None = None, **others: Any) -> GateEvidence:  # noqa: ANN401
    """Evidence in which nothing but the rows tells the models apart, unless told otherwise."""
    costs: dict[str, Any] = {
        "champion_latency_p95_ms": 2.0,
        "candidate_latency_p95_ms": 2.0,
        "champion_bytes": 1000,
        "candidate_bytes": 1000,
    }
    return GateEvidence(golden, feedback, CLASSES, **(costs | others))
