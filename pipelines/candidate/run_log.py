"""Logs a training run to the tracking server: what was asked, each epoch, the results and the model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import answer_reader, judge_answers
from pipelines.candidate import plots
from pipelines.candidate.data_profile import log_data_profile
from pipelines.candidate.learnt_rows import learnt_rows
from pipelines.candidate.row_selection import Rows
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import Examples
from pipelines.evaluation.classification_scores import ClassificationScores, score_answers
from pipelines.labels.label_curation import exclusion_counts, label_lineage
from pipelines.labels.learnt_labels import LINEAGE_FILE
from pipelines.trainer import EpochMetrics, TrainedModel
from registry.catalog import GOLDEN_DIGEST_TAG, GOLDEN_LOSSES_TAG, TRAINED_UNTIL_TAG
from registry.confidence_bins import CALIBRATION_TAG, CalibrationFit
from registry.gate.verdict import Verdict
from registry.installed_version import installed_version
from registry.prediction_task import Task
from registry.runs import Run


def log_training_spec(run: Run, spec: TrainingSpec, selection: Rows) -> None:
    """Log the recipe, the data sets with their digests and a profile, and where every label came from."""
    run.log_params({**spec.recipe.as_params(), "seed": spec.seed, "reason": spec.reason[:500]})
    parts = {"train": spec.split.train, "validation": spec.split.validation, "golden": spec.split.golden}
    sides = {role: side for role, side in parts.items() if len(side)}
    for role, side in sides.items():
        run.log_dataset(side.name, side.digest, spec.pipeline.name, role, len(side))
    profiled = sides if selection.feedback is None else {**sides, "feedback": selection.feedback}
    log_data_profile(run, profiled, spec.pipeline.contract.task, spec.pipeline.evaluation)
    for role, labelled in (("feedback", selection.feedback), ("gate", selection.holdout)):
        if labelled is not None and len(labelled):
            run.log_dataset(f"feedback/{role}", labelled.digest, "feedback", role, len(labelled))
            run.log_json(f"lineage/{role}.json", {"feedback_ids": labelled.feedback_ids, "images": labelled.ids})
    lineage = label_lineage(selection.feedback, selection.feedback_weights, selection.holdout, selection.excluded)
    learnt = learnt_rows(spec) | set(() if selection.feedback is None else selection.feedback.ids)
    run.log_json(LINEAGE_FILE, {**lineage, "learnt_rows": sorted(learnt)})


def epoch_logger(run: Run, on_epoch: Callable[[EpochMetrics], None]) -> Callable[[EpochMetrics], None]:
    """A callback that logs each epoch's metrics before it passes them on."""

    def log_epoch(metrics: EpochMetrics) -> None:
        run.log_metrics(metrics.as_metrics(), step=metrics.epoch)
        on_epoch(metrics)

    return log_epoch


def log_results(
    run: Run,
    spec: TrainingSpec,
    trained: TrainedModel,
    verdict: Verdict,
    outputs: NDArray[np.float32],
    selection: Rows,
) -> None:
    """Log the training's figures, the scores on held-back labels, samples with their predictions, and the verdict.

    `outputs` (n, width) are the candidate's answers to the golden rows.
    """
    task, golden = spec.pipeline.contract.task, spec.split.golden
    run.log_metrics(
        {
            **trained.metrics,
            "train_seconds": trained.seconds,
            "train_rows": len(selection.epoch_rows),
            "feedback_rows": 0 if selection.feedback is None else len(selection.feedback),
            "base_left_out": selection.base_excluded,
            **exclusion_counts(selection.excluded),
        }
    )
    if selection.holdout is not None and len(selection.holdout):
        answered = trained.engine(selection.holdout.batch)
        holdout = score_answers(judge_answers(task, answered, selection.holdout.labels))
        run.log_metrics(holdout.as_metrics("heldback"))
    if trained.history:
        run.log_figure("loss", partial(plots.loss_curve, trained.history))
    predictions = [answer.label for answer in answer_reader(task).answers(outputs)]
    figures = {"golden_samples": spec.pipeline.evaluation.sample_figure(golden, task.label, predictions)}
    if selection.feedback is not None and len(selection.feedback):
        figures["feedback_samples"] = spec.pipeline.evaluation.sample_figure(selection.feedback, task.label, None)
    for name, draw in figures.items():
        if draw is not None:
            run.log_figure(name, draw)
    run.log_text("verdict.json", verdict.to_json())


def log_model(run: Run, spec: TrainingSpec, trained: TrainedModel, outputs: NDArray[np.float32]) -> str:
    """Log the model's files, which answer the golden rows with these outputs; returns the model's URI."""
    files = trained.files(spec.split.golden.batch, outputs)
    return run.log_model(files, _requirements(trained), spec.pipeline.contract)


def version_tags(
    spec: TrainingSpec,
    rows: Rows,
    scores: ClassificationScores,
    calibration: CalibrationFit,
    verdict: Verdict,
    *,
    size_bytes: int,
    temperature: float | None,
    train_seconds: float,
) -> dict[str, str]:
    """The tags of a registered version: golden scores, calibration, verdict, size and how it was trained."""
    losses = _golden_losses(scores, spec.pipeline.contract.task)
    trained_until = _newest_time(rows.epoch_rows, spec.split.validation)
    return {
        **({TRAINED_UNTIL_TAG: f"{trained_until:.3f}"} if trained_until is not None else {}),
        **({GOLDEN_LOSSES_TAG: json.dumps(losses)} if losses else {}),
        "golden_correct": str(scores.correct),
        "golden_total": str(scores.n),
        CALIBRATION_TAG: calibration.to_json(),
        GOLDEN_DIGEST_TAG: spec.split.golden.digest,
        "gate": verdict.outcome,
        "recipe": spec.recipe.name,
        "size_bytes": str(size_bytes),
        **({} if temperature is None else {"temperature": f"{temperature:g}"}),
        "train_seconds": f"{train_seconds:.1f}",
    }


def _requirements(trained: TrainedModel) -> list[str]:
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in trained.packages]


def _newest_time(*parts: Examples) -> float | None:
    """Seconds since 1970 of the newest row; None where one has no time."""
    times = [part.times for part in parts if len(part)]
    known = [each for each in times if each is not None]
    return max(float(each.max()) for each in known) if known and len(known) == len(times) else None


def _golden_losses(scores: ClassificationScores, task: Task) -> dict[str, int]:
    """How many golden rows have each loss; nothing where every mistake costs the same."""
    if not task.has_costs:
        return {}
    rows = Counter[str]()
    for truth, answers in zip(task.counted_names, scores.confusion.tolist(), strict=True):
        for answer, n in zip(task.counted_names, answers, strict=True):
            rows[f"{task.counted_loss(truth, answer):.6g}"] += n
    return {loss: n for loss, n in sorted(rows.items()) if n}
