"""The story of a candidate: rows, training, judgement, comparison with the champion, a registered version.

It reads top to bottom in `make_candidate`. It refuses to know what asked for it, and it promotes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines import figures
from pipelines.data import FeedbackRows, ImageSet, Split
from pipelines.describe import describe
from pipelines.errors import TrainingStopped
from pipelines.evaluate import Judgement, judge
from pipelines.family import Family
from pipelines.mixture import mix
from pipelines.model import build_network, parameter_count
from pipelines.predict import Predictor, exportable, load, measure_latency, save
from pipelines.recipe import Recipe
from pipelines.train import EpochMetrics, Fitted, fit
from registry.card import render, without_header
from registry.catalog import CHALLENGER, Catalog
from registry.gate import Evidence, GatePolicy, Verdict, decide, decide_first
from registry.paired import Comparison
from registry.provenance import installed_version
from registry.runs import Run, Tracking

LATENCY_ROUNDS = 5
LATENCY_CALLS = 60


@dataclass(frozen=True, eq=False)
class Champion:
    """The version to beat, ready to answer."""

    version: int
    predictor: Predictor
    size_bytes: int


@dataclass(frozen=True, eq=False)
class Order:
    """What to make a candidate from. `feedback` is all there is: its held-back part only judges."""

    family: Family
    recipe: Recipe
    split: Split
    feedback: FeedbackRows | None
    champion: Champion | None
    seed: int
    reason: str
    tags: Mapping[str, str] = field(default_factory=dict)
    policy: GatePolicy = field(default_factory=GatePolicy)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A registered version with its judgement on the golden set and the gate's verdict."""

    version: int
    run_id: str
    judgement: Judgement
    verdict: Verdict
    seconds: float


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one order, each on one side only."""

    epoch: ImageSet
    new: FeedbackRows | None
    held_back: FeedbackRows | None


def make_candidate(
    order: Order,
    tracking: Tracking,
    catalog: Catalog,
    *,
    on_start: Callable[[str], None] = lambda _: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Candidate:
    """Train, judge, compare, register. The new version carries the alias `challenger` and its model card."""
    rows = choose_rows(order)
    name = f"{order.recipe.name}: {order.reason.partition(':')[0][:60]}"
    with tracking.start_run(order.family.name, name, order.tags, stops=(TrainingStopped,)) as run:
        on_start(run.id)
        _log_order(run, order, rows)
        network = build_network(
            order.recipe,
            len(order.family.classes),
            height=order.family.height,
            width=order.family.width,
            seed=order.seed,
        )
        logged = _epoch_logger(run, on_epoch)
        fitted = fit(
            network,
            order.recipe,
            rows.epoch,
            order.split.validation,
            seed=order.seed,
            on_epoch=logged,
            should_stop=should_stop,
        )
        module = exportable(fitted.network, height=order.family.height, width=order.family.width)
        made, size_bytes = _as_served(module, order.family)
        golden = order.split.golden
        probabilities = made(golden.images)
        judgement = judge(probabilities, golden.labels, order.family.classes)
        verdict = compare(order, rows, made, size_bytes, judgement)
        _log_judgement(run, order, fitted, judgement, verdict, probabilities, rows, made)
        card = render(describe(order, rows, fitted, judgement, verdict, run.id, size_bytes))
        run.log_text("model_card.md", card)
        example = golden.images[:2, None].astype(np.float32) / 255.0
        uri = run.log_model(module, example, made(golden.images[:2]), _requirements(), list(order.family.classes))
        tags = {
            "golden_correct": str(judgement.correct),
            "golden_total": str(judgement.n),
            "gate": verdict.outcome,
            "recipe": order.recipe.name,
            "size_bytes": str(size_bytes),
            "train_seconds": f"{fitted.seconds:.1f}",
        }
        version = catalog.register(order.family.name, uri, run.id, {**tags, **order.tags}, without_header(card))
        catalog.set_alias(order.family.name, CHALLENGER, version)
        run.set_tags({"mlplatform.version": str(version), "mlplatform.gate": verdict.outcome})
    return Candidate(version, run.id, judgement, verdict, fitted.seconds)


def choose_rows(order: Order) -> Rows:
    """Base rows and new labels for training, held-back labels for the gate; nothing golden trains."""
    if order.feedback is None or not len(order.feedback):
        return Rows(mix(order.split.train, None, order.recipe), None, None)
    fresh = order.feedback.without(order.split.golden.ids)
    new = fresh.for_training().without(order.split.validation.ids)
    held_back = fresh.held_back().without(order.split.train.ids + order.split.validation.ids)
    return Rows(mix(order.split.train, new, order.recipe), new, held_back)


def compare(order: Order, rows: Rows, made: Predictor, size_bytes: int, judgement: Judgement) -> Verdict:
    """The gate's verdict: against the champion on the same rows, or against the floor for a first version."""
    champion = order.champion
    if champion is None:
        return decide_first(judgement.correct, judgement.n)
    champion_ms, candidate_ms = side_by_side(champion.predictor, made)
    new_world = rows.held_back
    evidence = Evidence(
        golden=_paired(champion.predictor, made, order.split.golden, "golden"),
        feedback=_paired(champion.predictor, made, new_world, "feedback")
        if new_world is not None and len(new_world)
        else None,
        classes=order.family.classes,
        champion_latency_p95_ms=champion_ms,
        candidate_latency_p95_ms=candidate_ms,
        champion_bytes=champion.size_bytes,
        candidate_bytes=size_bytes,
    )
    return decide(evidence, order.policy)


def side_by_side(champion: Predictor, candidate: Predictor) -> tuple[float, float]:
    """p95 milliseconds per image of both, in turns; the quietest of the rounds counts for each."""
    rounds = [
        tuple(
            float(np.percentile(measure_latency(model, LATENCY_CALLS, warmup=10), 95))
            for model in (champion, candidate)
        )
        for _ in range(LATENCY_ROUNDS)
    ]
    return min(pair[0] for pair in rounds), min(pair[1] for pair in rounds)


def champion_of(catalog: Catalog, family: Family, version: int, cache: Path, model_file: str) -> Champion:
    """Fetch a registered version as the one to beat."""
    path = catalog.download(family.name, version, cache) / model_file
    noted = catalog.version(family.name, version).tags.get("size_bytes")  # of the same export as the candidate's
    return Champion(version, load(path, family.classes), int(noted) if noted else path.stat().st_size)


def _paired(champion: Predictor, candidate: Predictor, rows: ImageSet, origin: str) -> Comparison:
    return Comparison(
        labels=rows.labels,
        champion=champion(rows.images).argmax(axis=1),
        candidate=candidate(rows.images).argmax(axis=1),
        origin=origin,
    )


def _as_served(module: "object", family: Family) -> tuple[Predictor, int]:
    """The model as a server will load it, with its size: exported, written, read back."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save(module, path)  # type: ignore[arg-type]
        return load(path, family.classes), path.stat().st_size


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
    for role, labelled in (("feedback", rows.new), ("gate", rows.held_back)):
        if labelled is not None and len(labelled):
            run.log_dataset(f"feedback/{role}", labelled.digest, "feedback", role, len(labelled))
            run.log_json(f"lineage/{role}.json", {"feedback_ids": labelled.feedback_ids, "images": labelled.ids})


def _log_judgement(
    run: Run,
    order: Order,
    fitted: Fitted,
    judgement: Judgement,
    verdict: Verdict,
    probabilities: np.ndarray,
    rows: Rows,
    made: Predictor,
) -> None:
    classes, golden = order.family.classes, order.split.golden
    run.log_metrics(judgement.as_metrics("golden"))
    run.log_metrics(
        {
            "parameters": parameter_count(fitted.network),
            "best_epoch": fitted.best_epoch,
            "train_seconds": fitted.seconds,
            "train_rows": len(rows.epoch),
            "feedback_rows": 0 if rows.new is None else len(rows.new),
        }
    )
    if rows.held_back is not None and len(rows.held_back):
        held = judge(made(rows.held_back.images), rows.held_back.labels, classes)
        run.log_metrics(held.as_metrics("heldback"))
    run.log_figure("loss", figures.loss_curve(fitted.history))
    run.log_figure("confusion_matrix", figures.confusion_matrix(judgement, classes))
    texts = [classes[label] for label in golden.labels]
    guesses = [classes[label] for label in probabilities.argmax(axis=1)]
    run.log_figure("golden_samples", figures.sample_grid(golden.images, texts, guesses))
    if rows.new is not None and len(rows.new):
        new_texts = [classes[label] for label in rows.new.labels]
        run.log_figure("feedback_samples", figures.sample_grid(rows.new.images, new_texts))
    run.log_text("verdict.json", verdict.to_json())


def _requirements() -> list[str]:
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in ("torch", "numpy", "mlflow")]
