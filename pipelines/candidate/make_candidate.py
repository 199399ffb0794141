"""Makes a candidate: selects rows, trains, evaluates, compares with the champion and registers a version.

`make_candidate` reads top to bottom. Promotion is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipelines.candidate.candidate_report import build_report, log_report
from pipelines.candidate.gate_evidence import (
    attempt_number,
    best_past_champion,
    collect_gate_evidence,
    gate_row_outcomes,
)
from pipelines.candidate.model_card import build_card
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.run_log import epoch_logger, log_model, log_results, log_training_spec, version_tags
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import ImageSet
from pipelines.engines.exportable import Exportable, build_exportable, save_exportable
from pipelines.engines.torch_engine import TorchEngine, load_torch_engine, logits_of
from pipelines.errors import TrainingStopped
from pipelines.evaluation.classification_scores import ClassificationScores, score_predictions
from pipelines.evaluation.temperature_scaling import fit_temperature
from pipelines.pipeline import Pipeline
from pipelines.training.network import build_network
from pipelines.training.training_loop import EpochMetrics, TrainingResult, fit
from pipelines.training.warm_start import load_matching_weights
from registry.card import render_card, without_header
from registry.catalog import CHALLENGER, PREVIOUS_CHALLENGER_TAG, Catalog
from registry.confidence_bins import CalibrationFit, fit_calibration
from registry.gate.evidence import EVIDENCE_FILE
from registry.gate.row_outcomes import ROWS_FILE
from registry.gate.verdict import Verdict, gate_verdict
from registry.runs import Run, TrackingStore


@dataclass(frozen=True, eq=False)
class Candidate:
    """A registered version with its scores on the golden set and the gate's verdict."""

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
    """Train, evaluate, compare, register. The new version carries the alias `challenger` and its model card.

    `should_stop` is asked often and answers from memory; `is_wanted` is asked before each step that others see, and
    after the last. Raises TrainingStopped; a version that was registered by then is the caller's to take back.
    """

    def ensure_wanted(step: str) -> None:
        if should_stop() or not is_wanted():
            raise TrainingStopped(f"this retraining was closed {step}; nothing of it stays registered")

    rows, golden = select_rows(spec), spec.split.golden
    on_rows(rows)
    run_name = f"{spec.recipe.name}: {spec.reason.partition(':')[0][:60]}"
    with tracking.start_run(spec.pipeline.name, run_name, spec.tags, stop_errors=(TrainingStopped,)) as run:
        # 1. Train, and export the network as servers will load it.
        on_start(run.id)
        log_training_spec(run, spec, rows)
        result = _train(run, spec, rows, on_epoch, should_stop)
        module = _with_temperature(result.network, spec)
        model, size_bytes = _export(module, spec.pipeline)

        # 2. Evaluate it on the golden set, and compare it with the champion.
        probabilities = model(golden.batch)
        scores = score_predictions(probabilities, golden.labels, spec.pipeline.classes)
        versions = catalog.versions(spec.pipeline.name)
        best = best_past_champion(tracking, versions, spec.champion, golden)
        attempt = attempt_number(versions, spec.champion, golden)
        evidence = collect_gate_evidence(spec, rows, model, size_bytes, scores, best, attempt)
        verdict = gate_verdict(evidence)
        ensure_wanted("while its candidate was judged")
        run.log_text(EVIDENCE_FILE, evidence.to_json())
        run.log_text(ROWS_FILE, gate_row_outcomes(spec, rows, model).to_json())

        # 3. Report what else is known of it, and write its card.
        report = build_report(spec, model, probabilities, scores, module.temperature)
        log_report(run, report, golden, spec.pipeline.classes)
        log_results(run, spec, result, verdict, probabilities, rows, model)
        card = render_card(build_card(spec, rows, result, report, verdict, run.id, size_bytes))
        run.log_text("model_card.md", card)
        ensure_wanted("while its candidate was examined")

        # 4. Register it as the challenger.
        uri = log_model(run, spec, module, model, probabilities)
        tags = version_tags(
            spec,
            scores,
            _calibration(model, spec.split.validation, probabilities),
            verdict,
            size_bytes=size_bytes,
            temperature=module.temperature,
            train_seconds=result.seconds,
        )
        previous = catalog.alias(spec.pipeline.name, CHALLENGER)
        tags |= {} if previous is None else {PREVIOUS_CHALLENGER_TAG: str(previous)}
        ensure_wanted("while its candidate was logged")
        version = catalog.register(spec.pipeline.name, uri, run.id, {**tags, **spec.tags}, without_header(card))
        ensure_wanted("while its candidate was registered")
        catalog.set_alias(spec.pipeline.name, CHALLENGER, version)
        run.set_tags({"mlplatform.version": str(version), "mlplatform.gate": verdict.outcome})
        ensure_wanted("when its candidate was registered")
    result.discard_checkpoint()
    return Candidate(version, run.id, scores, verdict, result.seconds)


def _train(
    run: Run,
    spec: TrainingSpec,
    rows: Rows,
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
) -> TrainingResult:
    """The trained network; the run notes whose weights it began with, and every epoch."""
    network, initial_weights = _initial_network(spec)
    run.log_params({"begins_with": initial_weights})
    return fit(
        network,
        spec.recipe,
        rows.epoch_rows,
        spec.split.validation,
        seed=spec.seed,
        weights=rows.weights,
        on_epoch=epoch_logger(run, on_epoch),
        should_stop=should_stop,
        checkpoint_folder=spec.checkpoint_folder,
        device=spec.device,
    )


def _initial_network(spec: TrainingSpec) -> tuple[nn.Module, str]:
    """The network before its first epoch, and whose weights it begins with."""
    pipeline, champion = spec.pipeline, spec.champion
    network = build_network(
        spec.recipe, len(pipeline.classes), height=pipeline.height, width=pipeline.width, seed=spec.seed
    )
    if spec.recipe.warm_start and champion is not None and load_matching_weights(network, champion.predictor):
        return network, f"version {champion.version}"
    return network, "fresh weights"


def _with_temperature(network: nn.Module, spec: TrainingSpec) -> Exportable:
    """The network as it is registered, with the temperature that its validation rows ask for."""
    pipeline, validation = spec.pipeline, spec.split.validation
    temperature = fit_temperature(logits_of(network, validation.images), validation.labels)
    return build_exportable(network, height=pipeline.height, width=pipeline.width, temperature=temperature)


def _export(module: Exportable, pipeline: Pipeline) -> tuple[TorchEngine, int]:
    """The model as a server will load it, with its size in bytes: exported, written, read back."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save_exportable(module, path)
        return load_torch_engine(path, pipeline.classes), path.stat().st_size


def _calibration(model: TorchEngine, validation: ImageSet, golden: NDArray[np.float32]) -> CalibrationFit:
    """How far the model's confidence may be believed, learnt from rows that did not train it."""
    probabilities = model(validation.batch)
    correct = probabilities.argmax(axis=1) == validation.labels
    return fit_calibration(probabilities.max(axis=1), correct, golden.max(axis=1))
