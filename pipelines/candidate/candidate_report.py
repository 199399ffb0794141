"""The examination of a candidate beyond the gate's questions: tables, pictures and numbers for its run.

Values first (`examine`), then what the run keeps of them (`keep`); it decides nothing and registers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate import plots
from pipelines.data import ImageSet
from pipelines.engines.torch_engine import Predictor, measure_latency
from pipelines.evaluation.bootstrap_intervals import Limits, intervals
from pipelines.evaluation.classification_scores import Judgement, confused_pairs, judge
from pipelines.evaluation.group_fairness import Fairness, GroupScore, by_group
from pipelines.evaluation.robustness import Bearing, cheap_look
from registry.calibration_metrics import Bin, reliability
from registry.runs import Run

if TYPE_CHECKING:
    from pipelines.candidate.training_spec import Order

LATENCY_CALLS = 100
BY_CLASS = "class"


@dataclass(frozen=True, eq=False)
class Examination:
    """What is known of a candidate on the golden set, and a little beyond."""

    judgement: Judgement
    answers: NDArray[np.int64]
    """A class index per golden row, (n,)."""
    bins: tuple[Bin, ...]
    temperature: float
    """By which the served model divides its logits."""
    fairness: tuple[Fairness, ...]
    """By true class first, then by every factor that is known of the golden rows."""
    robustness: tuple[Bearing, ...]
    elsewhere: tuple[tuple[str, Judgement], ...]
    """Other data sets by name."""
    latency_ms: tuple[float, float]
    """p50 and p95 of one image at a time, on the machine and threads of the training."""
    intervals: Limits
    """Of the golden scores that have no formula, by name."""

    def as_metrics(self) -> dict[str, float]:
        """Stable names for a tracking server."""
        found = {**self.judgement.as_metrics("golden"), "temperature": self.temperature}
        for name, (low, high) in self.intervals.items():
            found |= {f"golden_{name}_low": low, f"golden_{name}_high": high}
        found |= {"latency_p50_ms": self.latency_ms[0], "latency_p95_ms": self.latency_ms[1]}
        for factor in self.fairness:
            found |= factor.as_metrics()
        for bearing in self.robustness:
            found[f"robustness_{bearing.metric}"] = bearing.accuracy
        for name, judged in self.elsewhere:
            plain = name.replace("/", "_")
            found |= {f"{plain}_accuracy": judged.accuracy, f"{plain}_nll": judged.nll}
        return found


def examine(
    order: Order,
    made: Predictor,
    probabilities: NDArray[np.floating],
    judgement: Judgement,
    temperature: float,
) -> Examination:
    """Everything about a candidate whose answers (n, classes) on the order's golden rows were judged already."""
    golden, classes = order.split.golden, order.family.classes
    answers = probabilities.argmax(axis=1)
    right = answers == golden.labels
    spent = measure_latency(made, LATENCY_CALLS)
    return Examination(
        judgement,
        answers,
        reliability(probabilities.max(axis=1), right),
        temperature,
        _fairness(order, right),
        cheap_look(made, golden),
        tuple((each.name, judge(made(each.images), each.labels, classes)) for each in order.elsewhere if len(each)),
        (float(np.percentile(spent, 50)), float(np.percentile(spent, 95))),
        intervals(probabilities, golden.labels),
    )


def _fairness(order: Order, right: NDArray[np.bool_]) -> tuple[Fairness, ...]:
    golden, classes = order.split.golden, order.family.classes
    found = [by_group(right, golden.labels, [classes[label] for label in golden.labels], (), BY_CLASS)]
    tags: dict[str, Sequence[str]] = dict(order.family.factors(golden))
    tags["group"] = [order.groups.get(each, "") for each in golden.ids] if order.groups else []
    for factor, named in tags.items():
        if any(named):
            found.append(by_group(right, golden.labels, named, classes, factor))
    return tuple(found)


def keep(run: Run, found: Examination, golden: ImageSet, classes: tuple[str, ...]) -> None:
    """Metrics, tables and pictures of an examination, under names that never change."""
    run.log_metrics(found.as_metrics())
    _keep_scores(run, found.judgement, classes)
    pairs = confused_pairs(found.judgement)
    run.log_table("confused_pairs", ("truth", "answer", "rows"), [(classes[t], classes[a], n) for t, a, n in pairs])
    if pairs:
        drawn = plots.confused_pictures(golden.images, golden.labels, found.answers, pairs, classes)
        run.log_figure("confused_pairs", drawn)
    run.log_table(
        "reliability",
        ("from", "to", "rows", "mean confidence", "right"),
        [(each.low, each.high, each.rows, each.confidence, each.right) for each in found.bins],
    )
    title = f"golden set, temperature {found.temperature:g}"
    run.log_figure("reliability", plots.reliability_diagram(found.bins, title))
    for factor in found.fairness:
        _keep_fairness(run, factor)
    run.log_table(
        "robustness",
        ("harm", "level", "rows", "right", "accuracy", "low", "high"),
        [(b.kind, b.level, b.rows, b.right, b.accuracy, *b.limits) for b in found.robustness],
    )
    lines = [(f"{b.kind} {b.level:g}", b.accuracy, *b.limits) for b in found.robustness]
    run.log_figure("robustness", plots.shares(lines, "accuracy under harm", found.judgement.accuracy))
    run.log_table(
        "elsewhere",
        ("data set", "rows", "accuracy", "low", "high", "nll", "calibration error"),
        [
            (name, j.n, j.accuracy, j.accuracy_low, j.accuracy_high, j.nll, j.calibration_error)
            for name, j in found.elsewhere
        ],
    )


def _keep_scores(run: Run, judgement: Judgement, classes: tuple[str, ...]) -> None:
    run.log_figure("confusion_matrix", plots.confusion_matrix(judgement, classes))
    run.log_figure("confusion_matrix_normalised", plots.confusion_matrix(judgement, classes, normalised=True))
    counts = judgement.confusion
    run.log_table("confusion_matrix", ("truth", *classes), _lines(classes, counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    run.log_table("confusion_matrix_normalised", ("truth", *classes), _lines(classes, shares.round(6)))
    run.log_table(
        "per_class",
        ("class", "rows", "precision", "recall", "recall low", "recall high", "f1"),
        [(s.name, s.n, s.precision, s.recall, s.recall_low, s.recall_high, s.f1) for s in judgement.per_class],
    )


def _keep_fairness(run: Run, factor: Fairness) -> None:
    columns = ("group", "class", "rows", "right", "accuracy", "low", "high", "p value", "differs")
    scores: list[GroupScore] = [*factor.groups, *factor.cells]
    run.log_table(
        f"fairness_{factor.factor}",
        columns,
        [(s.group, s.of_class, s.rows, s.right, s.accuracy, s.low, s.high, s.p_value, s.differs) for s in scores],
    )
    worst = sorted(factor.groups, key=lambda score: score.accuracy)[:30]
    lines = [(f"{s.group} ({s.rows})", s.accuracy, s.low, s.high) for s in worst]
    run.log_figure(f"fairness_{factor.factor}", plots.shares(lines, f"accuracy by {factor.factor}", None))


def _lines(classes: tuple[str, ...], values: NDArray[np.generic]) -> list[tuple[object, ...]]:
    return [(name, *line.tolist()) for name, line in zip(classes, values, strict=True)]
