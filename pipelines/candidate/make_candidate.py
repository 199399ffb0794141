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
from pipelines.candidate.candidate_report import examine, keep
from pipelines.candidate.data_profile import keep_exploration
from pipelines.candidate.gate_evidence import best_ever, gate_rows, gather
from pipelines.candidate.model_card import describe
from pipelines.candidate.row_selection import Rows, choose_rows
from pipelines.candidate.training_spec import GOLDEN_DIGEST_TAG, Order
from pipelines.data import ImageSet
from pipelines.engines.onnx_engine import portable
from pipelines.engines.torch_engine import Exportable, Predictor, exportable, load, logits_of, save
from pipelines.errors import TrainingStopped
from pipelines.evaluation.classification_scores import Judgement, judge
from pipelines.evaluation.temperature_scaling import fit_temperature
from pipelines.labels.label_curation import (
    counts,
    lineage,
)
from pipelines.pipeline import Family
from pipelines.training.network import build_network, parameter_count
from pipelines.training.training_loop import EpochMetrics, Fitted, fit
from pipelines.training.warm_start import adopt
from registry.card import render, without_header
from registry.catalog import BEFORE_TAG, CHALLENGER, Catalog
from registry.confidence_bins import CALIBRATION_TAG, Doubt, calibrate
from registry.gate.evidence import EVIDENCE_FILE
from registry.gate.row_outcomes import ROWS_FILE
from registry.gate.verdict import Verdict, decide
from registry.run_provenance import installed_version
from registry.runs import Run, Tracking


@dataclass(frozen=True, eq=False)
class Candidate:
    """A registered version with its judgement on the golden set and the gate's verdict."""

    version: int
    run_id: str
    judgement: Judgement
    verdict: Verdict
    seconds: float


def make_candidate(
    order: Order,
    tracking: Tracking,
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

    rows = choose_rows(order)
    on_rows(rows)
    name = f"{order.recipe.name}: {order.reason.partition(':')[0][:60]}"
    with tracking.start_run(order.family.name, name, order.tags, stops=(TrainingStopped,)) as run:
        on_start(run.id)
        _log_order(run, order, rows)
        network, begins = _begun(order)
        run.log_params({"begins_with": begins})
        fitted = fit(
            network,
            order.recipe,
            rows.epoch,
            order.split.validation,
            seed=order.seed,
            weights=rows.weights,
            on_epoch=_epoch_logger(run, on_epoch),
            should_stop=should_stop,
            checkpoints=order.checkpoints,
            device=order.device,
        )
        module = _calibrated(fitted.network, order)
        made, size_bytes = _as_served(module, order.family)
        golden = order.split.golden
        probabilities = made(golden.images)
        judgement = judge(probabilities, golden.labels, order.family.classes)
        best = best_ever(tracking, catalog, order.family.name, order.champion, golden)
        evidence = gather(order, rows, made, size_bytes, judgement, best)
        verdict = decide(evidence)
        go_on("while its candidate was judged")
        run.log_text(EVIDENCE_FILE, evidence.to_json())
        run.log_text(ROWS_FILE, gate_rows(order, rows, made).to_json())
        found = examine(order, made, probabilities, judgement, module.temperature)
        keep(run, found, golden, order.family.classes)
        _log_judgement(run, order, fitted, verdict, probabilities, rows, made)
        card = render(describe(order, rows, fitted, found, verdict, run.id, size_bytes))
        run.log_text("model_card.md", card)
        go_on("while its candidate was examined")
        uri = _logged(run, order, module, made, probabilities)
        tags = _version_tags(order, judgement, _doubt(made, order.split.validation, probabilities), verdict) | {
            "size_bytes": str(size_bytes),
            "temperature": f"{module.temperature:g}",
            "train_seconds": f"{fitted.seconds:.1f}",
        }
        before = catalog.alias(order.family.name, CHALLENGER)
        tags |= {} if before is None else {BEFORE_TAG: str(before)}
        go_on("while its candidate was logged")
        version = catalog.register(order.family.name, uri, run.id, {**tags, **order.tags}, without_header(card))
        go_on("while its candidate was registered")
        catalog.set_alias(order.family.name, CHALLENGER, version)
        run.set_tags({"mlplatform.version": str(version), "mlplatform.gate": verdict.outcome})
        go_on("when its candidate was registered")
    fitted.discard_checkpoint()
    return Candidate(version, run.id, judgement, verdict, fitted.seconds)


def _begun(order: Order) -> tuple[nn.Module, str]:
    """The network before its first epoch, and whose weights it begins with."""
    family, champion = order.family, order.champion
    network = build_network(
        order.recipe, len(family.classes), height=family.height, width=family.width, seed=order.seed
    )
    if order.recipe.warm_start and champion is not None and adopt(network, champion.predictor):
        return network, f"version {champion.version}"
    return network, "fresh weights"


def _calibrated(network: nn.Module, order: Order) -> Exportable:
    """The network as it is registered, with the temperature that its validation rows ask for."""
    family, validation = order.family, order.split.validation
    temperature = fit_temperature(logits_of(network, validation.images), validation.labels)
    return exportable(network, height=family.height, width=family.width, temperature=temperature)


def _as_served(module: Exportable, family: Family) -> tuple[Predictor, int]:
    """The model as a server will load it, with its size: exported, written, read back."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save(module, path)
        return load(path, family.classes), path.stat().st_size


def _logged(run: Run, order: Order, module: Exportable, made: Predictor, probabilities: NDArray[np.float32]) -> str:
    """Log the model with its ONNX graph, the golden set's answers at hand to check it; returns its URI."""
    golden, classes = order.split.golden, list(order.family.classes)
    example = golden.images[:2, None].astype(np.float32) / 255.0
    graph = portable(module, golden.images, probabilities)
    return run.log_model(module, example, made(golden.images[:2]), _requirements(), classes, onnx=graph)


def _doubt(made: Predictor, validation: ImageSet, golden: NDArray[np.float32]) -> Doubt:
    """How far the candidate's confidence may be believed, learnt from rows that did not train it."""
    answers = made(validation.images)
    return calibrate(answers.max(axis=1), answers.argmax(axis=1) == validation.labels, golden.max(axis=1))


def _version_tags(order: Order, judgement: Judgement, doubt: Doubt, verdict: Verdict) -> dict[str, str]:
    """What the registry notes of a version: how good it is on the golden set, and what the gate said."""
    return {
        "golden_correct": str(judgement.correct),
        "golden_total": str(judgement.n),
        CALIBRATION_TAG: doubt.to_json(),
        GOLDEN_DIGEST_TAG: order.split.golden.digest,
        "gate": verdict.outcome,
        "recipe": order.recipe.name,
    }


def _epoch_logger(run: Run, on_epoch: Callable[[EpochMetrics], None]) -> Callable[[EpochMetrics], None]:
    def logged(metrics: EpochMetrics) -> None:
        run.log_metrics(metrics.as_metrics(), step=metrics.epoch)
        on_epoch(metrics)

    return logged


def _log_order(run: Run, order: Order, rows: Rows) -> None:
    run.log_params({**order.recipe.as_params(), "seed": order.seed, "reason": order.reason[:500]})
    sides = {"train": order.split.train, "validation": order.split.validation, "golden": order.split.golden}
    for role, side in sides.items():
        run.log_dataset(side.name, side.digest, order.family.name, role, len(side))
    seen = sides if rows.new is None else {**sides, "feedback": rows.new}
    keep_exploration(run, seen, order.family.classes)
    for role, labelled in (("feedback", rows.new), ("gate", rows.held_back)):
        if labelled is not None and len(labelled):
            run.log_dataset(f"feedback/{role}", labelled.digest, "feedback", role, len(labelled))
            run.log_json(f"lineage/{role}.json", {"feedback_ids": labelled.feedback_ids, "images": labelled.ids})
    run.log_json("lineage.json", lineage(rows.new, rows.trust, rows.held_back, rows.set_aside))


def _log_judgement(
    run: Run,
    order: Order,
    fitted: Fitted,
    verdict: Verdict,
    probabilities: np.ndarray,
    rows: Rows,
    made: Predictor,
) -> None:
    classes, golden = order.family.classes, order.split.golden
    run.log_metrics(
        {
            "parameters": parameter_count(fitted.network),
            "best_epoch": fitted.best_epoch,
            "train_seconds": fitted.seconds,
            "train_rows": len(rows.epoch),
            "feedback_rows": 0 if rows.new is None else len(rows.new),
            "base_left_out": rows.base_left_out,
            **counts(rows.set_aside),
        }
    )
    if rows.held_back is not None and len(rows.held_back):
        held = judge(made(rows.held_back.images), rows.held_back.labels, classes)
        run.log_metrics(held.as_metrics("heldback"))
    run.log_figure("loss", plots.loss_curve(fitted.history))
    texts = [classes[label] for label in golden.labels]
    guesses = [classes[label] for label in probabilities.argmax(axis=1)]
    run.log_figure("golden_samples", plots.sample_grid(golden.images, texts, guesses))
    if rows.new is not None and len(rows.new):
        new_texts = [classes[label] for label in rows.new.labels]
        run.log_figure("feedback_samples", plots.sample_grid(rows.new.images, new_texts))
    run.log_text("verdict.json", verdict.to_json())


def _requirements() -> list[str]:
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in ("torch", "numpy", "mlflow")]
