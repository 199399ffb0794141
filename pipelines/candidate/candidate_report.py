"""Reports on a candidate beyond the gate's checks: calibration, fairness, robustness, other data sets.

`build_report` computes it, `log_report` writes it to the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import JudgedAnswers, judge_answers
from pipelines.candidate import plots
from pipelines.data import Examples
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.latency import measure_latency
from pipelines.evaluation.classification_scores import (
    ClassificationScores,
    Intervals,
    bootstrap_intervals,
    confused_pairs,
    score_answers,
    wilson_interval,
)
from pipelines.evaluation.group_fairness import FactorFairness, GroupScore, compare_groups
from pipelines.evaluation.risk_coverage import AcceptedShare, accepted_shares
from pipelines.input_evaluation import (
    ColumnEffects,
    InputEvaluation,
    RobustnessScore,
    distinct_metric_names,
    metric_name,
)
from registry.calibration_metrics import ReliabilityBin, reliability_bins
from registry.runs import Run

if TYPE_CHECKING:
    from pipelines.candidate.training_spec import TrainingSpec

LATENCY_CALLS = 100
BY_CLASS, BY_TAG = "class", "group"


@dataclass(frozen=True, eq=False)
class CandidateReport:
    """What is known of a candidate on the golden set, and a little beyond."""

    scores: ClassificationScores
    predictions: NDArray[np.int64]
    """A class index per golden row, (n,)."""
    bins: tuple[ReliabilityBin, ...]
    temperature: float | None
    """By which the served model divides its logits, where that was fitted."""
    fairness: tuple[FactorFairness, ...]
    """By true class first, then by every factor that is known of the golden rows."""
    robustness: tuple[RobustnessScore, ...]
    columns: ColumnEffects | None
    """What each column of a table does; None for inputs without columns."""
    external_datasets: tuple[tuple[str, ClassificationScores], ...]
    """Other data sets by name."""
    latency_ms: tuple[float, float]
    """p50 and p95 of one image at a time, on the machine and threads of the training."""
    accepted: tuple[AcceptedShare, ...]
    """What may be accepted unseen at which error, on the golden rows."""
    intervals: Intervals
    """Of the golden scores that have no formula, by name."""

    def as_metrics(self) -> dict[str, float]:
        """Stable names for a tracking server."""
        metrics = self.scores.as_metrics("golden")
        metrics |= {} if self.temperature is None else {"temperature": self.temperature}
        for name, (low, high) in self.intervals.items():
            metrics |= {f"golden_{name}_low": low, f"golden_{name}_high": high}
        metrics |= {"latency_p50_ms": self.latency_ms[0], "latency_p95_ms": self.latency_ms[1]}
        for share in self.accepted:
            metrics[f"golden_accepted_at_error_{share.risk:g}".replace(".", "p")] = share.share
        for factor in self.fairness:
            metrics |= factor.as_metrics(self.fairness_names[factor.factor])
        harms = {_harm(score): score for score in self.robustness}
        harm_names = distinct_metric_names({harm: score.metric_name for harm, score in harms.items()})
        metrics |= {f"robustness_{harm_names[harm]}": score.accuracy for harm, score in harms.items()}
        columns = {each.column: each for each in (() if self.columns is None else self.columns.importance)}
        column_names = distinct_metric_names({name: metric_name(name) for name in columns})
        metrics |= {f"importance_{column_names[name]}": each.added_loss for name, each in columns.items()}
        for name, scores in self.external_datasets:
            prefix = name.replace("/", "_")
            metrics |= {f"{prefix}_accuracy": scores.accuracy, f"{prefix}_nll": scores.nll}
        return metrics

    @property
    def fairness_names(self) -> Mapping[str, str]:
        """By factor, what its table and figure are called, and what its metrics begin with."""
        plain = {each.factor: metric_name(each.factor) for each in self.fairness}
        cells = {f"{name}_cells" for name in plain.values()}  # a factor's metrics say so of its cells
        names = distinct_metric_names(plain, cells)
        return {factor: f"fairness_{name}" for factor, name in names.items()}


def build_report(
    spec: TrainingSpec,
    candidate: InferenceEngine,
    judged: JudgedAnswers,
    scores: ClassificationScores,
    temperature: float | None,
) -> CandidateReport:
    """Everything about a candidate, given its answers to the golden rows and their scores."""
    golden, task = spec.split.golden, spec.pipeline.contract.task
    spent = measure_latency(candidate, LATENCY_CALLS)
    return CandidateReport(
        scores,
        judged.answers,
        reliability_bins(judged.confidences, judged.right),
        temperature,
        fairness(spec, judged),
        spec.pipeline.evaluation.robustness(candidate, golden),
        spec.pipeline.evaluation.column_effects(candidate, golden, spec.pipeline.contract),
        tuple(
            (data_set.name, score_answers(judge_answers(task, candidate(data_set.batch), data_set.labels)))
            for data_set in spec.external_datasets
            if len(data_set)
        ),
        (float(np.percentile(spent, 50)), float(np.percentile(spent, 95))),
        accepted_shares(judged.confidences, judged.right),
        bootstrap_intervals(judged),
    )


def fairness(spec: TrainingSpec, judged: JudgedAnswers) -> tuple[FactorFairness, ...]:
    """How groups of the golden rows fared: by true class, by each sensitive factor, and by the tag of production."""
    golden, classes = spec.split.golden, judged.names
    right, labels = judged.right, judged.labels
    factors = [compare_groups(right, labels, [classes[label] for label in labels], (), BY_CLASS)]
    sensitive = spec.pipeline.sensitive_groups(golden)
    tags: dict[str, Sequence[str]] = {
        f"{factor} (sensitive)" if factor in (BY_CLASS, BY_TAG) else factor: named
        for factor, named in sensitive.items()
    }
    tags[BY_TAG] = [spec.group_tags.get(image, "") for image in golden.ids] if spec.group_tags else []
    for factor, named in tags.items():
        if any(named):
            factors.append(compare_groups(right, labels, named, classes, factor))
    return tuple(factors)


def log_report(
    run: Run, report: CandidateReport, golden: Examples, classes: tuple[str, ...], evaluation: InputEvaluation
) -> None:
    """Log the report's metrics, tables and plots, under names that never change."""
    run.log_metrics(report.as_metrics())
    _log_scores(run, report.scores, classes)
    pairs = confused_pairs(report.scores)
    run.log_table("confused_pairs", ("truth", "answer", "rows"), [(classes[t], classes[a], n) for t, a, n in pairs])
    if pairs:
        draw = evaluation.confusion_figure(golden, report.predictions, pairs, classes)
        if draw is not None:
            run.log_figure("confused_pairs", draw)
    run.log_table(
        "risk_coverage",
        ("error at most", "threshold", "rows", "accepted", "wrong", "share", "low", "high"),
        [(a.risk, a.threshold, a.rows, a.accepted, a.wrong, a.share, *a.limits) for a in report.accepted],
    )
    run.log_table(
        "reliability",
        ("from", "to", "rows", "mean confidence", "right"),
        [(bin_.low, bin_.high, bin_.rows, bin_.confidence, bin_.correct) for bin_ in report.bins],
    )
    title = "golden set" if report.temperature is None else f"golden set, temperature {report.temperature:g}"
    run.log_figure("reliability", partial(plots.reliability_diagram, report.bins, title))
    for factor in report.fairness:
        _log_fairness(run, factor, report.fairness_names[factor.factor])
    run.log_table(
        "robustness",
        ("harm", "level", "rows", "right", "accuracy", "low", "high", "answers changed"),
        [(b.kind, b.level, b.rows, b.correct, b.accuracy, *_interval(b), b.changed) for b in report.robustness],
    )
    if report.columns is not None:
        _log_columns(run, report.columns, classes)
    lines = [(_harm(b), b.accuracy, *_interval(b)) for b in report.robustness]
    if lines:
        draw = partial(plots.interval_plot, lines, "accuracy under harm", report.scores.accuracy)
        run.log_figure("robustness", draw)
    run.log_table(
        "elsewhere",
        ("data set", "rows", "accuracy", "low", "high", "nll", "calibration error"),
        [
            (name, j.n, j.accuracy, j.accuracy_low, j.accuracy_high, j.nll, j.calibration_error)
            for name, j in report.external_datasets
        ],
    )


def _log_scores(run: Run, scores: ClassificationScores, classes: tuple[str, ...]) -> None:
    run.log_figure("confusion_matrix", partial(plots.confusion_matrix_plot, scores, classes))
    run.log_figure(
        "confusion_matrix_normalised", partial(plots.confusion_matrix_plot, scores, classes, normalised=True)
    )
    counts = scores.confusion
    run.log_table("confusion_matrix", ("truth", *classes), _table_rows(classes, counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    run.log_table("confusion_matrix_normalised", ("truth", *classes), _table_rows(classes, shares.round(6)))
    run.log_table(
        "per_class",
        ("class", "rows", "precision", "recall", "recall low", "recall high", "f1"),
        [(s.name, s.n, s.precision, s.recall, s.recall_low, s.recall_high, s.f1) for s in scores.per_class],
    )


def _log_columns(run: Run, effects: ColumnEffects, classes: tuple[str, ...]) -> None:
    run.log_table(
        "column_importance",
        ("column", "added loss", "low", "high", "share of answers changed"),
        [(each.column, each.added_loss, each.low, each.high, each.changed_share) for each in effects.importance],
    )
    run.log_table(
        "partial_dependence",
        ("column", "value", *classes),
        [
            (each.column, value, *shares)
            for each in effects.dependence
            for value, shares in zip(each.values, each.probabilities.round(6).tolist(), strict=True)
        ],
    )
    run.log_figure("column_importance", partial(plots.importance_plot, effects.importance))
    if effects.dependence:
        run.log_figure("partial_dependence", partial(plots.partial_dependence_plot, effects.dependence, classes))


def _log_fairness(run: Run, factor: FactorFairness, name: str) -> None:
    columns = ("group", "class", "rows", "right", "accuracy", "low", "high", "p value", "differs")
    scores: list[GroupScore] = [*factor.groups, *factor.cells]
    run.log_table(
        name,
        columns,
        [(s.group, s.of_class, s.rows, s.correct, s.accuracy, s.low, s.high, s.p_value, s.differs) for s in scores],
    )
    worst = sorted(factor.groups, key=lambda score: score.accuracy)[:30]
    lines = [(f"{s.group} ({s.rows})", s.accuracy, s.low, s.high) for s in worst]
    title = f"accuracy by {factor.factor}"
    run.log_figure(name, partial(plots.interval_plot, lines, title, None))


def _harm(score: RobustnessScore) -> str:
    return f"{score.kind} {score.level:g}"


def _interval(score: RobustnessScore) -> tuple[float, float]:
    return wilson_interval(score.correct, score.rows)


def _table_rows(classes: tuple[str, ...], values: NDArray[np.generic]) -> list[tuple[object, ...]]:
    return [(name, *line.tolist()) for name, line in zip(classes, values, strict=True)]
