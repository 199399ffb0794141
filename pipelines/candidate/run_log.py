"""Logs a training run to the tracking server: what was asked, each epoch, the results and the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate import plots
from pipelines.candidate.data_profile import log_data_profile
from pipelines.candidate.row_selection import Rows
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.engines.exportable import Exportable
from pipelines.engines.onnx_engine import export_if_equivalent
from pipelines.engines.torch_engine import TorchEngine
from pipelines.evaluation.classification_scores import ClassificationScores, score_predictions
from pipelines.labels.label_curation import exclusion_counts, label_lineage
from pipelines.training.network import parameter_count
from pipelines.training.training_loop import EpochMetrics, TrainingResult
from registry.catalog import GOLDEN_DIGEST_TAG
from registry.confidence_bins import CALIBRATION_TAG, CalibrationFit
from registry.gate.verdict import Verdict
from registry.runs import Run, installed_version


def log_training_spec(run: Run, spec: TrainingSpec, selection: Rows) -> None:
    """Log the recipe, the data sets with their digests and a profile, and where every label came from."""
    run.log_params({**spec.recipe.as_params(), "seed": spec.seed, "reason": spec.reason[:500]})
    sides = {"train": spec.split.train, "validation": spec.split.validation, "golden": spec.split.golden}
    for role, side in sides.items():
        run.log_dataset(side.name, side.digest, spec.pipeline.name, role, len(side))
    profiled = sides if selection.feedback is None else {**sides, "feedback": selection.feedback}
    log_data_profile(run, profiled, spec.pipeline.classes)
    for role, labelled in (("feedback", selection.feedback), ("gate", selection.holdout)):
        if labelled is not None and len(labelled):
            run.log_dataset(f"feedback/{role}", labelled.digest, "feedback", role, len(labelled))
            run.log_json(f"lineage/{role}.json", {"feedback_ids": labelled.feedback_ids, "images": labelled.ids})
    run.log_json(
        "lineage.json",
        label_lineage(selection.feedback, selection.feedback_weights, selection.holdout, selection.excluded),
    )


def epoch_logger(run: Run, on_epoch: Callable[[EpochMetrics], None]) -> Callable[[EpochMetrics], None]:
    """A callback that logs each epoch's metrics before it passes them on."""

    def log_epoch(metrics: EpochMetrics) -> None:
        run.log_metrics(metrics.as_metrics(), step=metrics.epoch)
        on_epoch(metrics)

    return log_epoch


def log_results(
    run: Run,
    spec: TrainingSpec,
    result: TrainingResult,
    verdict: Verdict,
    probabilities: NDArray[np.float32],
    selection: Rows,
    candidate: TorchEngine,
) -> None:
    """Log the training's figures, the scores on held-back labels, samples with their predictions, and the verdict.

    `probabilities` (n, classes) are the candidate's predictions of the golden rows.
    """
    classes, golden = spec.pipeline.classes, spec.split.golden
    run.log_metrics(
        {
            "parameters": parameter_count(result.network),
            "best_epoch": result.best_epoch,
            "train_seconds": result.seconds,
            "train_rows": len(selection.epoch_rows),
            "feedback_rows": 0 if selection.feedback is None else len(selection.feedback),
            "base_left_out": selection.base_excluded,
            **exclusion_counts(selection.excluded),
        }
    )
    if selection.holdout is not None and len(selection.holdout):
        holdout = score_predictions(candidate(selection.holdout.batch), selection.holdout.labels, classes)
        run.log_metrics(holdout.as_metrics("heldback"))
    run.log_figure("loss", plots.loss_curve(result.history))
    truths = [classes[label] for label in golden.labels]
    predictions = [classes[label] for label in probabilities.argmax(axis=1)]
    run.log_figure("golden_samples", plots.sample_grid(golden.images, truths, predictions))
    if selection.feedback is not None and len(selection.feedback):
        feedback_labels = [classes[label] for label in selection.feedback.labels]
        run.log_figure("feedback_samples", plots.sample_grid(selection.feedback.images, feedback_labels))
    run.log_text("verdict.json", verdict.to_json())


def log_model(
    run: Run, spec: TrainingSpec, module: Exportable, candidate: TorchEngine, probabilities: NDArray[np.float32]
) -> str:
    """Log the model and, where ONNX Runtime predicts the golden rows alike, its ONNX graph; returns the model's URI."""
    golden = spec.split.golden
    example = golden.images[:2, None].astype(np.float32) / 255.0
    graph = export_if_equivalent(module, golden.batch, probabilities)
    answers = candidate(golden.batch[:2])
    return run.log_model(module, example, answers, _requirements(), spec.pipeline.contract, onnx=graph)


def version_tags(
    spec: TrainingSpec,
    scores: ClassificationScores,
    calibration: CalibrationFit,
    verdict: Verdict,
    *,
    size_bytes: int,
    temperature: float,
    train_seconds: float,
) -> dict[str, str]:
    """The tags of a registered version: golden scores, calibration, verdict, size and how it was trained."""
    return {
        "golden_correct": str(scores.correct),
        "golden_total": str(scores.n),
        CALIBRATION_TAG: calibration.to_json(),
        GOLDEN_DIGEST_TAG: spec.split.golden.digest,
        "gate": verdict.outcome,
        "recipe": spec.recipe.name,
        "size_bytes": str(size_bytes),
        "temperature": f"{temperature:g}",
        "train_seconds": f"{train_seconds:.1f}",
    }


def _requirements() -> list[str]:
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in ("torch", "numpy", "mlflow")]
