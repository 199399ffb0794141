"""Reports on a candidate beyond the gate's checks: calibration, fairness, robustness, other data sets.

`build_report` computes it, `log_report` writes it to the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate import plots
from pipelines.data import ImageSet
from pipelines.engines.latency import measure_latency
from pipelines.engines.torch_engine import TorchEngine
from pipelines.evaluation.classification_scores import (
    ClassificationScores,
    Intervals,
    bootstrap_intervals,
    confused_pairs,
    score_predictions,
)
from pipelines.evaluation.group_fairness import FactorFairness, GroupScore, compare_groups
from pipelines.evaluation.robustness import RobustnessScore, quick_robustness
from registry.calibration_metrics import ReliabilityBin, reliability_bins
from registry.runs import Run

if TYPE_CHECKING:
    from pipelines.candidate.training_spec import TrainingSpec

LATENCY_CALLS = 100
BY_CLASS = "class"


@dataclass(frozen=True, eq=False)
class CandidateReport:
    """What is known of a candidate on the golden set, and a little beyond."""

    scores: ClassificationScores
    predictions: NDArray[np.int64]
    """A class index per golden row, (n,)."""
    bins: tuple[ReliabilityBin, ...]
    temperature: float
    """By which the served model divides its logits."""
    fairness: tuple[FactorFairness, ...]
    """By true class first, then by every factor that is known of the golden rows."""
    robustness: tuple[RobustnessScore, ...]
    external_datasets: tuple[tuple[str, ClassificationScores], ...]
    """Other data sets by name."""
    latency_ms: tuple[float, float]
    """p50 and p95 of one image at a time, on the machine and threads of the training."""
    intervals: Intervals
    """Of the golden scores that have no formula, by name."""

    def as_metrics(self) -> dict[str, float]:
        """Stable names for a tracking server."""
        metrics = {**self.scores.as_metrics("golden"), "temperature": self.temperature}
        for name, (low, high) in self.intervals.items():
            metrics |= {f"golden_{name}_low": low, f"golden_{name}_high": high}
        metrics |= {"latency_p50_ms": self.latency_ms[0], "latency_p95_ms": self.latency_ms[1]}
        for factor in self.fairness:
            metrics |= factor.as_metrics()
        for score in self.robustness:
            metrics[f"robustness_{score.metric_name}"] = score.accuracy
        for name, scores in self.external_datasets:
            prefix = name.replace("/", "_")
            metrics |= {f"{prefix}_accuracy": scores.accuracy, f"{prefix}_nll": scores.nll}
        return metrics


def build_report(
    spec: TrainingSpec,
    candidate: TorchEngine,
    probabilities: NDArray[np.floating],
    scores: ClassificationScores,
    temperature: float,
) -> CandidateReport:
    """Everything about a candidate, given its probabilities (n, classes) and scores on the golden rows."""
    golden, classes = spec.split.golden, spec.pipeline.classes
    answers = probabilities.argmax(axis=1)
    right = answers == golden.labels
    spent = measure_latency(candidate, LATENCY_CALLS)
    return CandidateReport(
        scores,
        answers,
        reliability_bins(probabilities.max(axis=1), right),
        temperature,
        _fairness(spec, right),
        quick_robustness(candidate, golden),
        tuple(
            (data_set.name, score_predictions(candidate(data_set.batch), data_set.labels, classes))
            for data_set in spec.external_datasets
            if len(data_set)
        ),
        (float(np.percentile(spent, 50)), float(np.percentile(spent, 95))),
        bootstrap_intervals(probabilities, golden.labels),
    )


def _fairness(spec: TrainingSpec, right: NDArray[np.bool_]) -> tuple[FactorFairness, ...]:
    golden, classes = spec.split.golden, spec.pipeline.classes
    factors = [compare_groups(right, golden.labels, [classes[label] for label in golden.labels], (), BY_CLASS)]
    tags: dict[str, Sequence[str]] = dict(spec.pipeline.sensitive_groups(golden))
    tags["group"] = [spec.group_tags.get(image, "") for image in golden.ids] if spec.group_tags else []
    for factor, named in tags.items():
        if any(named):
            factors.append(compare_groups(right, golden.labels, named, classes, factor))
    return tuple(factors)


def log_report(run: Run, report: CandidateReport, golden: ImageSet, classes: tuple[str, ...]) -> None:
    """Log the report's metrics, tables and plots, under names that never change."""
    run.log_metrics(report.as_metrics())
    _log_scores(run, report.scores, classes)
    pairs = confused_pairs(report.scores)
    run.log_table("confused_pairs", ("truth", "answer", "rows"), [(classes[t], classes[a], n) for t, a, n in pairs])
    if pairs:
        drawn = plots.confused_images(golden.images, golden.labels, report.predictions, pairs, classes)
        run.log_figure("confused_pairs", drawn)
    run.log_table(
        "reliability",
        ("from", "to", "rows", "mean confidence", "right"),
        [(bin_.low, bin_.high, bin_.rows, bin_.confidence, bin_.correct) for bin_ in report.bins],
    )
    title = f"golden set, temperature {report.temperature:g}"
    run.log_figure("reliability", plots.reliability_diagram(report.bins, title))
    for factor in report.fairness:
        _log_fairness(run, factor)
    run.log_table(
        "robustness",
        ("harm", "level", "rows", "right", "accuracy", "low", "high"),
        [(b.kind, b.level, b.rows, b.correct, b.accuracy, *b.interval) for b in report.robustness],
    )
    lines = [(f"{b.kind} {b.level:g}", b.accuracy, *b.interval) for b in report.robustness]
    run.log_figure("robustness", plots.interval_plot(lines, "accuracy under harm", report.scores.accuracy))
    run.log_table(
        "elsewhere",
        ("data set", "rows", "accuracy", "low", "high", "nll", "calibration error"),
        [
            (name, j.n, j.accuracy, j.accuracy_low, j.accuracy_high, j.nll, j.calibration_error)
            for name, j in report.external_datasets
        ],
    )


def _log_scores(run: Run, scores: ClassificationScores, classes: tuple[str, ...]) -> None:
    run.log_figure("confusion_matrix", plots.confusion_matrix_plot(scores, classes))
    run.log_figure("confusion_matrix_normalised", plots.confusion_matrix_plot(scores, classes, normalised=True))
    counts = scores.confusion
    run.log_table("confusion_matrix", ("truth", *classes), _table_rows(classes, counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    run.log_table("confusion_matrix_normalised", ("truth", *classes), _table_rows(classes, shares.round(6)))
    run.log_table(
        "per_class",
        ("class", "rows", "precision", "recall", "recall low", "recall high", "f1"),
        [(s.name, s.n, s.precision, s.recall, s.recall_low, s.recall_high, s.f1) for s in scores.per_class],
    )


def _log_fairness(run: Run, factor: FactorFairness) -> None:
    columns = ("group", "class", "rows", "right", "accuracy", "low", "high", "p value", "differs")
    scores: list[GroupScore] = [*factor.groups, *factor.cells]
    run.log_table(
        f"fairness_{factor.factor}",
        columns,
        [(s.group, s.of_class, s.rows, s.correct, s.accuracy, s.low, s.high, s.p_value, s.differs) for s in scores],
    )
    worst = sorted(factor.groups, key=lambda score: score.accuracy)[:30]
    lines = [(f"{s.group} ({s.rows})", s.accuracy, s.low, s.high) for s in worst]
    run.log_figure(f"fairness_{factor.factor}", plots.interval_plot(lines, f"accuracy by {factor.factor}", None))


def _table_rows(classes: tuple[str, ...], values: NDArray[np.generic]) -> list[tuple[object, ...]]:
    return [(name, *line.tolist()) for name, line in zip(classes, values, strict=True)]
