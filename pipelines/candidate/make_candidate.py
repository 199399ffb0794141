"""The story of a candidate: rows, training, judgement, comparison with the champion, a registered version.

It reads top to bottom in `make_candidate`. It refuses to know what asked for it, and it promotes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipelines.candidate import plots
from pipelines.candidate.candidate_report import build_report, log_report
from pipelines.candidate.data_profile import log_data_profile
from pipelines.candidate.gate_evidence import best_past_champion, collect_gate_evidence, gate_row_outcomes
from pipelines.candidate.model_card import build_card
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.training_spec import GOLDEN_DIGEST_TAG, TrainingSpec
from pipelines.data import ImageSet
from pipelines.engines.onnx_engine import export_if_equivalent
from pipelines.engines.torch_engine import (
    Exportable,
    TorchEngine,
    build_exportable,
    load_torch_engine,
    logits_of,
    save_exportable,
)
from pipelines.errors import TrainingStopped
from pipelines.evaluation.classification_scores import ClassificationScores, score_predictions
from pipelines.evaluation.temperature_scaling import fit_temperature
from pipelines.labels.label_curation import (
    exclusion_counts,
    label_lineage,
)
from pipelines.pipeline import Pipeline
from pipelines.training.network import build_network, parameter_count
from pipelines.training.training_loop import EpochMetrics, TrainingResult, fit
from pipelines.training.warm_start import load_matching_weights
from registry.card import render_card, without_header
from registry.catalog import CHALLENGER, PREVIOUS_CHALLENGER_TAG, Catalog
from registry.confidence_bins import CALIBRATION_TAG, CalibrationFit, fit_calibration
from registry.gate.evidence import EVIDENCE_FILE
from registry.gate.row_outcomes import ROWS_FILE
from registry.gate.verdict import Verdict, gate_verdict
from registry.run_provenance import installed_version
from registry.runs import Run, TrackingStore


@dataclass(frozen=True, eq=False)
class Candidate:
    """A registered version with its judgement on the golden set and the gate's verdict."""

    version: int
    run_id: str
    scores: ClassificationScores
    verdict: Verdict
    seconds: float


def make_candidate(
    spec: TrainingSpec,
    tracking: TrackingStore,
    catalog: Catalog,
    *,
    on_rows: Callable[[Rows], None] = lambda _: None,
    on_start: Callable[[str], None] = lambda _: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Candidate:
    """Train, judge, compare, register. The new version carries the alias `challenger` and its model card.

    `should_stop` is asked often and answers from memory; `is_wanted` is asked before each step that others see, and
    after the last. Raises TrainingStopped; a version that was registered by then is the caller's to take back.
    """

    def go_on(step: str) -> None:
        if should_stop() or not is_wanted():
            raise TrainingStopped(f"this retraining was closed {step}; nothing of it stays registered")

    rows = select_rows(spec)
    on_rows(rows)
    name = f"{spec.recipe.name}: {spec.reason.partition(':')[0][:60]}"
    with tracking.start_run(spec.pipeline.name, name, spec.tags, stop_errors=(TrainingStopped,)) as run:
        on_start(run.id)
        _log_spec(run, spec, rows)
        network, begins = _initial_network(spec)
        run.log_params({"begins_with": begins})
        fitted = fit(
            network,
            spec.recipe,
            rows.epoch_rows,
            spec.split.validation,
            seed=spec.seed,
            weights=rows.weights,
            on_epoch=_epoch_logger(run, on_epoch),
            should_stop=should_stop,
            checkpoint_folder=spec.checkpoint_folder,
            device=spec.device,
        )
        module = _with_temperature(fitted.network, spec)
        made, size_bytes = _exported(module, spec.pipeline)
        golden = spec.split.golden
        probabilities = made(golden.images)
        judgement = score_predictions(probabilities, golden.labels, spec.pipeline.classes)
        best = best_past_champion(tracking, catalog, spec.pipeline.name, spec.champion, golden)
        evidence = collect_gate_evidence(spec, rows, made, size_bytes, judgement, best)
        verdict = gate_verdict(evidence)
        go_on("while its candidate was judged")
        run.log_text(EVIDENCE_FILE, evidence.to_json())
        run.log_text(ROWS_FILE, gate_row_outcomes(spec, rows, made).to_json())
        found = build_report(spec, made, probabilities, judgement, module.temperature)
        log_report(run, found, golden, spec.pipeline.classes)
        _log_results(run, spec, fitted, verdict, probabilities, rows, made)
        card = render_card(build_card(spec, rows, fitted, found, verdict, run.id, size_bytes))
        run.log_text("model_card.md", card)
        go_on("while its candidate was examined")
        uri = _log_model(run, spec, module, made, probabilities)
        tags = _version_tags(spec, judgement, _calibration(made, spec.split.validation, probabilities), verdict) | {
            "size_bytes": str(size_bytes),
            "temperature": f"{module.temperature:g}",
            "train_seconds": f"{fitted.seconds:.1f}",
        }
        before = catalog.alias(spec.pipeline.name, CHALLENGER)
        tags |= {} if before is None else {PREVIOUS_CHALLENGER_TAG: str(before)}
        go_on("while its candidate was logged")
        version = catalog.register(spec.pipeline.name, uri, run.id, {**tags, **spec.tags}, without_header(card))
        go_on("while its candidate was registered")
        catalog.set_alias(spec.pipeline.name, CHALLENGER, version)
        run.set_tags({"mlplatform.version": str(version), "mlplatform.gate": verdict.outcome})
        go_on("when its candidate was registered")
    fitted.discard_checkpoint()
    return Candidate(version, run.id, judgement, verdict, fitted.seconds)


def _initial_network(spec: TrainingSpec) -> tuple[nn.Module, str]:
    """The network before its first epoch, and whose weights it begins with."""
    family, champion = spec.pipeline, spec.champion
    network = build_network(spec.recipe, len(family.classes), height=family.height, width=family.width, seed=spec.seed)
    if spec.recipe.warm_start and champion is not None and load_matching_weights(network, champion.predictor):
        return network, f"version {champion.version}"
    return network, "fresh weights"


def _with_temperature(network: nn.Module, spec: TrainingSpec) -> Exportable:
    """The network as it is registered, with the temperature that its validation rows ask for."""
    family, validation = spec.pipeline, spec.split.validation
    temperature = fit_temperature(logits_of(network, validation.images), validation.labels)
    return build_exportable(network, height=family.height, width=family.width, temperature=temperature)


def _exported(module: Exportable, pipeline: Pipeline) -> tuple[TorchEngine, int]:
    """The model as a server will load it, with its size: exported, written, read back."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save_exportable(module, path)
        return load_torch_engine(path, pipeline.classes), path.stat().st_size


def _log_model(
    run: Run, spec: TrainingSpec, module: Exportable, candidate: TorchEngine, probabilities: NDArray[np.float32]
) -> str:
    """Log the model with its ONNX graph, the golden set's answers at hand to check it; returns its URI."""
    golden, classes = spec.split.golden, list(spec.pipeline.classes)
    example = golden.images[:2, None].astype(np.float32) / 255.0
    graph = export_if_equivalent(module, golden.images, probabilities)
    return run.log_model(module, example, candidate(golden.images[:2]), _requirements(), classes, onnx=graph)


def _calibration(candidate: TorchEngine, validation: ImageSet, golden: NDArray[np.float32]) -> CalibrationFit:
    """How far the candidate's confidence may be believed, learnt from rows that did not train it."""
    answers = candidate(validation.images)
    return fit_calibration(answers.max(axis=1), answers.argmax(axis=1) == validation.labels, golden.max(axis=1))


def _version_tags(
    spec: TrainingSpec, scores: ClassificationScores, calibration: CalibrationFit, verdict: Verdict
) -> dict[str, str]:
    """What the registry notes of a version: how good it is on the golden set, and what the gate said."""
    return {
        "golden_correct": str(scores.correct),
        "golden_total": str(scores.n),
        CALIBRATION_TAG: calibration.to_json(),
        GOLDEN_DIGEST_TAG: spec.split.golden.digest,
        "gate": verdict.outcome,
        "recipe": spec.recipe.name,
    }


def _epoch_logger(run: Run, on_epoch: Callable[[EpochMetrics], None]) -> Callable[[EpochMetrics], None]:
    def logged(metrics: EpochMetrics) -> None:
        run.log_metrics(metrics.as_metrics(), step=metrics.epoch)
        on_epoch(metrics)

    return logged


def _log_spec(run: Run, spec: TrainingSpec, selection: Rows) -> None:
    run.log_params({**spec.recipe.as_params(), "seed": spec.seed, "reason": spec.reason[:500]})
    sides = {"train": spec.split.train, "validation": spec.split.validation, "golden": spec.split.golden}
    for role, side in sides.items():
        run.log_dataset(side.name, side.digest, spec.pipeline.name, role, len(side))
    seen = sides if selection.feedback is None else {**sides, "feedback": selection.feedback}
    log_data_profile(run, seen, spec.pipeline.classes)
    for role, labelled in (("feedback", selection.feedback), ("gate", selection.holdout)):
        if labelled is not None and len(labelled):
            run.log_dataset(f"feedback/{role}", labelled.digest, "feedback", role, len(labelled))
            run.log_json(f"lineage/{role}.json", {"feedback_ids": labelled.feedback_ids, "images": labelled.ids})
    run.log_json(
        "lineage.json",
        label_lineage(selection.feedback, selection.feedback_weights, selection.holdout, selection.excluded),
    )


def _log_results(
    run: Run,
    spec: TrainingSpec,
    result: TrainingResult,
    verdict: Verdict,
    probabilities: np.ndarray,
    selection: Rows,
    candidate: TorchEngine,
) -> None:
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
        held = score_predictions(candidate(selection.holdout.images), selection.holdout.labels, classes)
        run.log_metrics(held.as_metrics("heldback"))
    run.log_figure("loss", plots.loss_curve(result.history))
    texts = [classes[label] for label in golden.labels]
    guesses = [classes[label] for label in probabilities.argmax(axis=1)]
    run.log_figure("golden_samples", plots.sample_grid(golden.images, texts, guesses))
    if selection.feedback is not None and len(selection.feedback):
        new_texts = [classes[label] for label in selection.feedback.labels]
        run.log_figure("feedback_samples", plots.sample_grid(selection.feedback.images, new_texts))
    run.log_text("verdict.json", verdict.to_json())


def _requirements() -> list[str]:
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in ("torch", "numpy", "mlflow")]
