"""Makes a candidate: selects rows, trains, evaluates, compares with the champion and registers a version.

`make_candidate` reads top to bottom. Promotion is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipelines.answers import JudgedAnswers, judge_answers
from pipelines.candidate.candidate_report import build_report, log_report
from pipelines.candidate.gate_evidence import (
    attempt_number,
    best_past_champion,
    collect_gate_evidence,
    gate_row_outcomes,
)
from pipelines.candidate.learnt_rows import with_lineage
from pipelines.candidate.model_card import build_card
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.run_log import epoch_logger, log_model, log_results, log_training_spec, version_tags
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import TrainingStopped
from pipelines.evaluation.classification_scores import ClassificationScores, score_answers
from pipelines.trainer import EpochMetrics, StartingModel, TrainedModel, TrainingRequest
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

    spec = with_lineage(spec, tracking)
    rows = select_rows(spec)
    whole, golden = spec, rows.golden
    spec = replace(spec, split=replace(spec.split, golden=golden))
    on_rows(rows)
    run_name = f"{spec.recipe.name}: {spec.reason.partition(':')[0][:60]}"
    with tracking.start_run(spec.pipeline.name, run_name, spec.tags, stop_errors=(TrainingStopped,)) as run:
        # 1. Train, and export the model as servers will load it.
        on_start(run.id)
        log_training_spec(run, spec, rows)
        trained = _train(run, spec, rows, on_epoch, should_stop)
        model, size_bytes = trained.engine, trained.size_bytes

        # 2. Evaluate it on the golden set, and compare it with the champion.
        outputs = model(golden.batch)
        judged = judge_answers(spec.pipeline.contract.task, outputs, golden.labels)
        scores = score_answers(judged)
        versions = catalog.versions(spec.pipeline.name)
        best = best_past_champion(tracking, versions, spec.champion, whole.split.golden)
        attempt = attempt_number(versions, spec.champion, whole.split.golden)
        evidence = collect_gate_evidence(whole, rows, model, size_bytes, scores, best, attempt)
        verdict = gate_verdict(evidence)
        ensure_wanted("while its candidate was judged")
        run.log_text(EVIDENCE_FILE, evidence.to_json())
        run.log_text(ROWS_FILE, gate_row_outcomes(spec, rows, model).to_json())

        # 3. Report what else is known of it, and write its card.
        report = build_report(spec, model, judged, scores, trained.temperature)
        log_report(run, report, golden, spec.pipeline.counted_names, spec.pipeline.evaluation)
        log_results(run, spec, trained, verdict, outputs, rows)
        card = render_card(build_card(spec, rows, trained, report, verdict, run.id))
        run.log_text("model_card.md", card)
        ensure_wanted("while its candidate was examined")

        # 4. Register it as the challenger.
        uri = log_model(run, spec, trained, outputs)
        tags = version_tags(
            spec,
            rows,
            scores,
            _calibration(spec, model, judged),
            verdict,
            size_bytes=size_bytes,
            temperature=trained.temperature,
            train_seconds=trained.seconds,
        )
        previous = catalog.alias(spec.pipeline.name, CHALLENGER)
        tags |= {} if previous is None else {PREVIOUS_CHALLENGER_TAG: str(previous)}
        ensure_wanted("while its candidate was logged")
        version = catalog.register(spec.pipeline.name, uri, run.id, {**tags, **spec.tags}, without_header(card))
        ensure_wanted("while its candidate was registered")
        catalog.set_alias(spec.pipeline.name, CHALLENGER, version)
        run.set_tags({"mlplatform.version": str(version), "mlplatform.gate": verdict.outcome})
        ensure_wanted("when its candidate was registered")
    trained.discard_checkpoint()
    return Candidate(version, run.id, scores, verdict, trained.seconds)


def _train(
    run: Run,
    spec: TrainingSpec,
    rows: Rows,
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
) -> TrainedModel:
    """The model that the pipeline's trainer makes of the rows; the run notes its choices and every epoch."""
    champion = spec.champion
    return spec.pipeline.trainer.train(
        TrainingRequest(
            contract=spec.pipeline.contract,
            recipe=spec.recipe,
            rows=rows.epoch_rows,
            weights=rows.weights,
            validation=spec.split.validation,
            seed=spec.seed,
            champion=None if champion is None else StartingModel(champion.version, champion.predictor),
            checkpoint_folder=spec.checkpoint_folder,
            device=spec.device,
            log_params=run.log_params,
            log_metrics=run.log_metrics,
            on_epoch=epoch_logger(run, on_epoch),
            should_stop=should_stop,
        )
    )


def _calibration(spec: TrainingSpec, model: InferenceEngine, golden: JudgedAnswers) -> CalibrationFit:
    """How far the model's confidence may be believed, learnt from rows that did not train it."""
    validation = spec.split.validation
    judged = judge_answers(spec.pipeline.contract.task, model(validation.batch), validation.labels)
    return fit_calibration(judged.confidences, judged.right, golden.confidences)
