"""The story of a candidate: rows, training, judgement, comparison with the champion, a registered version.

It reads top to bottom in `make_candidate`. It refuses to know what asked for it, and it promotes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipelines import figures
from pipelines.compare import GOLDEN_DIGEST_TAG, best_ever, gate_rows, gather
from pipelines.curate import Quotas, SetAside, counts, curate, curate_judges, keep_apart, leave_known, lineage, settle
from pipelines.data import FeedbackRows, ImageSet, Split
from pipelines.describe import describe
from pipelines.errors import TrainingStopped
from pipelines.evaluate import Judgement, judge
from pipelines.examine import examine, keep
from pipelines.explore import keep_exploration
from pipelines.family import Family
from pipelines.mixture import capped, mix, mixed_weights
from pipelines.model import build_network, parameter_count
from pipelines.neighbours import near_duplicates
from pipelines.onnx_graph import portable
from pipelines.origin import Origin, Witnesses
from pipelines.predict import Exportable, Predictor, exportable, load, logits_of, save
from pipelines.recipe import Recipe
from pipelines.temperature import fit_temperature
from pipelines.train import EpochMetrics, Fitted, fit
from pipelines.warm import adopt
from registry.card import render, without_header
from registry.catalog import BEFORE_TAG, CHALLENGER, Catalog
from registry.confidence import CALIBRATION_TAG, Doubt, calibrate
from registry.evidence import EVIDENCE_FILE
from registry.gate import GatePolicy, Verdict, decide
from registry.marks import ROWS_FILE
from registry.provenance import installed_version
from registry.runs import Run, Tracking

PAST = "it was held back, and was answered before answers became bad: the gate asks about the world since then"


@dataclass(frozen=True, eq=False)
class Champion:
    """The version to beat, ready to answer."""

    version: int
    predictor: Predictor
    size_bytes: int
    golden_digest: str = ""
    """Of the golden set it was judged on; empty when it noted none."""


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
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Where each label came from, by feedback id; `feedback` may hold several labels of one image."""
    quotas: Quotas = field(default_factory=Quotas)
    groups: Mapping[str, str] = field(default_factory=dict)
    """A tag of an image, by its content hash, such as the place it came from; the gate compares tagged groups."""
    unusable: tuple[SetAside, ...] = ()
    """Labels that could not become rows; the lineage names them too."""
    recent: frozenset[str] | None = None
    """The images, by content hash, that show the world as it is now; None where all of them do."""
    checkpoints: Path | None = None
    """Folder in which a training leaves what it needs to go on after a kill; None keeps nothing."""
    device: str = "cpu"
    """Where the training computes, in torch's words; the registered model is the same kind of file anyway."""
    elsewhere: tuple[ImageSet, ...] = ()
    """Other data sets, each judged for the card and trained on never."""


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
    """The rows of one order, each on one side only, and the labels that are on none."""

    epoch: ImageSet
    weights: NDArray[np.float32]
    """How much each row of the epoch counts, (n,)."""
    new: FeedbackRows | None
    trust: NDArray[np.float32]
    """How much each row of `new` counts, (n,)."""
    held_back: FeedbackRows | None
    set_aside: tuple[SetAside, ...]
    base_left_out: int
    """Base rows that look like a golden or a gate image."""


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


def choose_rows(order: Order) -> Rows:
    """Base rows and new labels for training, held-back labels for the gate.

    No golden or gate image trains, nor a near-duplicate of one. Where the order knows which images are recent, only
    those are repeated up to their share of an epoch, and only those judge: the benefit must lie in the world as it is.
    """
    split, recipe = order.split, order.recipe
    base = capped(split.train, recipe.max_train_rows)
    if order.feedback is None or not len(order.feedback):
        fresh = base.take(~near_duplicates(base.images, split.golden.images))
        alike, none = np.ones(len(fresh), dtype=np.float32), np.ones(0, dtype=np.float32)
        return Rows(fresh, alike, None, none, None, order.unusable, len(base) - len(fresh))
    witnesses = Witnesses(None if order.champion is None else order.champion.predictor, order.origins)
    settled, contradicted = settle(order.feedback, witnesses)
    unseen, known = leave_known(settled.held_back(), split.train.ids + split.validation.ids + split.golden.ids)
    teaching, held, copies = keep_apart(settled.for_training(), unseen)
    judging = np.concatenate([split.golden.images, held.images])
    fresh = base.take(~near_duplicates(base.images, judging))
    protected = np.concatenate([judging, split.validation.images])
    new = curate(teaching, witnesses, protected, order.quotas)
    judges = curate_judges(held, witnesses, new.rows, order.quotas)
    now, now_judges = _recent(order, new.rows), _recent(order, judges.rows)
    past = tuple(SetAside(i, "before the change", PAST) for i in judges.rows.take(~now_judges).feedback_ids)
    return Rows(
        epoch=mix(fresh, new.rows.take(now), recipe, new.rows.take(~now)),
        weights=mixed_weights(len(fresh), new.weights[now], recipe, new.weights[~now]),
        new=new.rows,
        trust=new.weights,
        held_back=judges.rows.take(now_judges),
        set_aside=(*order.unusable, *contradicted, *known, *copies, *new.set_aside, *judges.set_aside, *past),
        base_left_out=len(base) - len(fresh),
    )


def _recent(order: Order, rows: FeedbackRows) -> NDArray[np.bool_]:
    """Which of the rows show the world as it is now, (n,)."""
    if order.recent is None:
        return np.ones(len(rows), dtype=bool)
    return np.array([i in order.recent for i in rows.ids], dtype=bool)


def _begun(order: Order) -> tuple[nn.Module, str]:
    """The network before its first epoch, and whose weights it begins with."""
    family, champion = order.family, order.champion
    network = build_network(
        order.recipe, len(family.classes), height=family.height, width=family.width, seed=order.seed
    )
    if order.recipe.warm_start and champion is not None and adopt(network, champion.predictor):
        return network, f"version {champion.version}"
    return network, "fresh weights"


def champion_of(catalog: Catalog, family: Family, version: int, cache: Path, model_file: str) -> Champion:
    """Fetch a registered version as the one to beat."""
    path = catalog.download(family.name, version, cache) / model_file
    tags = catalog.version(family.name, version).tags
    noted = tags.get("size_bytes")  # of the same export as the candidate's
    size = int(noted) if noted else path.stat().st_size
    return Champion(version, load(path, family.classes), size, tags.get(GOLDEN_DIGEST_TAG, ""))


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
    run.log_figure("loss", figures.loss_curve(fitted.history))
    texts = [classes[label] for label in golden.labels]
    guesses = [classes[label] for label in probabilities.argmax(axis=1)]
    run.log_figure("golden_samples", figures.sample_grid(golden.images, texts, guesses))
    if rows.new is not None and len(rows.new):
        new_texts = [classes[label] for label in rows.new.labels]
        run.log_figure("feedback_samples", figures.sample_grid(rows.new.images, new_texts))
    run.log_text("verdict.json", verdict.to_json())


def _requirements() -> list[str]:
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in ("torch", "numpy", "mlflow")]
