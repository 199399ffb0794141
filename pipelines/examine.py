"""The examination of a candidate beyond the gate's questions: tables, pictures and numbers for its run.

Values first (`examine`), then what the run keeps of them (`keep`); it decides nothing and registers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines import charts, figures
from pipelines.data import ImageSet
from pipelines.evaluate import Judgement, confused_pairs
from registry.calibration import Bin, reliability
from registry.runs import Run


@dataclass(frozen=True, eq=False)
class Examination:
    """What is known of a candidate on the golden set."""

    judgement: Judgement
    answers: NDArray[np.int64]
    """A class index per golden row, (n,)."""
    bins: tuple[Bin, ...]
    temperature: float
    """By which the served model divides its logits."""

    def as_metrics(self) -> dict[str, float]:
        """Stable names for a tracking server."""
        return {**self.judgement.as_metrics("golden"), "temperature": self.temperature}


def examine(
    probabilities: NDArray[np.floating], golden: ImageSet, judgement: Judgement, temperature: float
) -> Examination:
    """Everything about a candidate's answers (n, classes) on the golden rows that was judged already."""
    answers = probabilities.argmax(axis=1)
    right = answers == golden.labels
    return Examination(judgement, answers, reliability(probabilities.max(axis=1), right), temperature)


def keep(run: Run, found: Examination, golden: ImageSet, classes: tuple[str, ...]) -> None:
    """Metrics, tables and pictures of an examination, under names that never change."""
    run.log_metrics(found.as_metrics())
    _keep_scores(run, found.judgement, classes)
    pairs = confused_pairs(found.judgement)
    run.log_table("confused_pairs", ("truth", "answer", "rows"), [(classes[t], classes[a], n) for t, a, n in pairs])
    if pairs:
        drawn = charts.confused_pictures(golden.images, golden.labels, found.answers, pairs, classes)
        run.log_figure("confused_pairs", drawn)
    run.log_table(
        "reliability",
        ("from", "to", "rows", "mean confidence", "right"),
        [(each.low, each.high, each.rows, each.confidence, each.right) for each in found.bins],
    )
    title = f"golden set, temperature {found.temperature:g}"
    run.log_figure("reliability", charts.reliability_diagram(found.bins, title))


def _keep_scores(run: Run, judgement: Judgement, classes: tuple[str, ...]) -> None:
    run.log_figure("confusion_matrix", figures.confusion_matrix(judgement, classes))
    run.log_figure("confusion_matrix_normalised", figures.confusion_matrix(judgement, classes, normalised=True))
    counts = judgement.confusion
    run.log_table("confusion_matrix", ("truth", *classes), _lines(classes, counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    run.log_table("confusion_matrix_normalised", ("truth", *classes), _lines(classes, shares.round(6)))
    run.log_table(
        "per_class",
        ("class", "rows", "precision", "recall", "recall low", "recall high", "f1"),
        [(s.name, s.n, s.precision, s.recall, s.recall_low, s.recall_high, s.f1) for s in judgement.per_class],
    )


def _lines(classes: tuple[str, ...], values: NDArray[np.generic]) -> list[tuple[object, ...]]:
    return [(name, *line.tolist()) for name, line in zip(classes, values, strict=True)]
