"""The story of a candidate, told on tiny bars."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.row_selection import select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec, load_champion
from pipelines.data import Examples, FeedbackRows, Split, images_of
from pipelines.engines.onnx_engine import onnx_engine_from_bytes
from pipelines.engines.torch_engine import TorchEngine, to_tensor
from pipelines.errors import TrainingStopped
from pipelines.pipeline import Pipeline
from pipelines.trainer import EpochMetrics
from registry.catalog import Catalog
from registry.confidence_bins import CalibrationFit
from registry.errors import RegistryUnavailableError
from registry.gate.row_outcomes import GateRowOutcomes
from registry.gate.verdict import replay_verdict
from registry.mlflow_server import quiet_environment
from registry.runs import TrackingStore
from tests.support.bars import draw_bars
from tests.support.fake_registry import (
    EASY,
    Always,
    FakeRun,
    FakeTracking,
    MemoryCatalog,
    bars_family,
    bars_split,
    feedback_on,
    make_plain_candidate,
)


@pytest.fixture(scope="module")
def split() -> Split:
    return bars_split(32)


@pytest.fixture(scope="module")
def family(split: Split) -> Pipeline:
    return bars_family(split)


def order_of(family: Pipeline, split: Split, feedback: FeedbackRows | None = None) -> TrainingSpec:
    return TrainingSpec(
        family, EASY, split, feedback, None, seed=3, reason="for a test", tags={"mlplatform.trigger": "alert"}
    )


@dataclass(frozen=True)
class Made:
    """One candidate and all that was kept of its making."""

    order: TrainingSpec
    candidate: Candidate
    run: FakeRun
    catalog: MemoryCatalog


def make(order: TrainingSpec, maker: Callable[..., Candidate] = make_plain_candidate, figures: bool = False) -> Made:
    tracking = FakeTracking(figures=figures)
    catalog = MemoryCatalog(tracking)
    return Made(order, maker(order, tracking, catalog), tracking.runs[0], catalog)


@pytest.fixture(scope="module")
def first(family: Pipeline, split: Split) -> Made:
    """A first version, from base data alone."""
    return make(order_of(family, split), make_candidate, figures=True)


@pytest.fixture(scope="module")
def second(family: Pipeline, split: Split) -> Made:
    """A retraining with feedback, against a champion that knows one answer."""
    order = order_of(family, split, feedback_on(draw_bars(45, 9)))
    return make(replace(order, champion=Champion(7, Always(family, 0), 10**9)), figures=True)


def test_without_feedback_the_base_rows_train(family: Pipeline, split: Split) -> None:
    rows = select_rows(order_of(family, split))
    assert (rows.epoch_rows.digest, rows.feedback, rows.holdout) == (split.train.digest, None, None)


def test_empty_feedback_is_as_good_as_none(family: Pipeline, split: Split) -> None:
    rows = select_rows(order_of(family, split, feedback_on(split.train.take([]))))
    assert (rows.feedback, rows.holdout) == (None, None)


def everything_labelled(split: Split) -> FeedbackRows:
    """Feedback on every image there is, golden ones too, and on new ones."""
    return feedback_on(Examples.concat("all", split.train, split.validation, split.golden, draw_bars(150, 8)))


def test_golden_images_never_train_and_never_judge_as_feedback(family: Pipeline, split: Split) -> None:
    rows = select_rows(order_of(family, split, everything_labelled(split)))
    assert rows.feedback is not None
    assert rows.holdout is not None
    golden = set(split.golden.ids)
    for side in (rows.epoch_rows, rows.feedback, rows.holdout):
        assert golden.isdisjoint(side.ids)


def test_held_back_feedback_never_trains(family: Pipeline, split: Split) -> None:
    rows = select_rows(order_of(family, split, everything_labelled(split)))
    assert rows.holdout is not None
    assert len(rows.holdout) > 20
    assert set(rows.holdout.ids).isdisjoint(rows.epoch_rows.ids)
    assert set(rows.holdout.ids).isdisjoint(split.train.ids + split.validation.ids)


def test_only_the_world_as_it_is_judges_and_is_repeated(family: Pipeline, split: Split) -> None:
    labelled = feedback_on(split.stream)
    late = frozenset(labelled.ids[::4])
    order = order_of(family, split, labelled)
    rows, whole = select_rows(replace(order, recent_images=late)), select_rows(order)
    assert rows.feedback is not None
    assert whole.feedback is not None
    assert rows.holdout is not None
    assert whole.holdout is not None
    assert set(rows.holdout.ids) == set(whole.holdout.ids) & late
    assert set(rows.feedback.ids) == set(whole.feedback.ids)
    counts = Counter(rows.epoch_rows.ids)
    assert {counts[i] for i in rows.feedback.ids if i not in late} == {1}
    assert min(counts[i] for i in rows.feedback.ids if i in late) > 1
    assert len(rows.epoch_rows) == len(rows.weights)
    past = [each for each in rows.excluded if each.reason == "before the change"]
    assert len(past) == len(whole.holdout) - len(rows.holdout)


def test_images_that_choose_the_epoch_do_not_train(family: Pipeline, split: Split) -> None:
    rows = select_rows(order_of(family, split, everything_labelled(split)))
    assert set(split.validation.ids).isdisjoint(rows.epoch_rows.ids)


@pytest.mark.slow
def test_a_version_is_registered_with_a_graph_that_answers_like_it(first: Made) -> None:
    assert first.run.onnx is not None
    golden, classes = first.order.split.golden, first.order.pipeline.classes
    answers = onnx_engine_from_bytes(first.run.onnx, classes, threads=1)(golden.batch)
    [module] = first.run.models.values()
    assert np.allclose(answers, TorchEngine(module, classes, 12, 12)(golden.batch), atol=1e-5)


def test_a_first_version_that_reads_well_passes_the_gate(first: Made) -> None:
    assert first.candidate.verdict.outcome == "promote"
    assert first.candidate.scores.n == len(first.order.split.golden)
    assert first.candidate.scores.accuracy > 0.95


def test_a_candidate_is_registered_as_challenger_with_what_a_promotion_needs(first: Made) -> None:
    version = first.catalog.version("bars", first.candidate.version)
    judgement = first.candidate.scores
    assert first.catalog.pointers == {"challenger": first.candidate.version}
    assert version.run_id == first.candidate.run_id == first.run.id
    expected = {
        "golden_correct": str(judgement.correct),
        "golden_total": str(judgement.n),
        "golden_digest": first.order.split.golden.digest,
        "gate": "promote",
        "recipe": "tiny",
        "mlplatform.trigger": "alert",
    }
    assert expected.items() <= version.tags.items()
    assert int(version.tags["size_bytes"]) > 1000
    assert {"mlplatform.version": "1", "mlplatform.gate": "promote"}.items() <= first.run.tags.items()
    assert first.run.status == "FINISHED"


def test_a_candidate_keeps_how_far_its_confidence_may_be_believed(first: Made) -> None:
    doubt = CalibrationFit.from_json(first.catalog.version("bars", 1).tags["calibration"])
    assert doubt.rows == len(first.order.split.validation)
    assert sum(doubt.golden.values()) == len(first.order.split.golden)
    assert 0 < doubt.error_probability(0.99) < doubt.error_probability(0.6) < 1


def test_the_served_confidence_is_divided_by_the_temperature_that_the_version_names(first: Made) -> None:
    version = first.catalog.version("bars", 1)
    [module] = first.run.models.values()
    assert float(version.tags["temperature"]) == module.temperature == first.run.metrics["temperature"][0]
    assert module.temperature != 1.0
    pixels = to_tensor(images_of(first.order.split.golden.batch))
    with torch.inference_mode():
        logits, answered = module.network(pixels), module(pixels)
    assert torch.allclose(torch.log_softmax(logits / module.temperature, dim=1).exp(), answered, atol=1e-6)


def test_every_run_keeps_its_tables_in_the_form_that_mlflow_shows(first: Made) -> None:
    names = {"confusion_matrix", "confusion_matrix_normalised", "per_class", "confused_pairs", "reliability"}
    for name in names:
        table = json.loads(first.run.texts[f"tables/{name}.json"])
        assert all(len(row) == len(table["columns"]) for row in table["data"])
    counts = json.loads(first.run.texts["tables/confusion_matrix.json"])["data"]
    assert sum(sum(row[1:]) for row in counts) == 32


def test_the_card_is_complete_and_kept_with_run_and_version(first: Made, second: Made) -> None:
    for made in (first, second):
        card = made.run.texts["model_card.md"]
        described = made.catalog.version("bars", 1).description
        assert described.strip() in card
        for section in ("Intended use", "Training data", "Evaluation data", "Gate verdict", "Caveats"):
            assert f"## {section}" in described
    assert "No labelled feedback was used." in first.run.texts["model_card.md"]
    assert "Labelled feedback used: " in second.run.texts["model_card.md"]


def test_every_side_of_the_data_is_in_the_lineage(second: Made) -> None:
    split, rows = second.order.split, select_rows(second.order)
    assert rows.feedback is not None
    assert rows.holdout is not None
    assert second.run.datasets == {
        "train": ("bars/train", split.train.digest, 120),
        "validation": ("bars/validation", split.validation.digest, 40),
        "golden": ("bars/golden", split.golden.digest, 32),
        "feedback": ("feedback/feedback", rows.feedback.digest, len(rows.feedback)),
        "gate": ("feedback/gate", rows.holdout.digest, len(rows.holdout)),
    }


def test_the_lineage_names_each_feedback_and_image_on_one_side_only(second: Made) -> None:
    sides = [json.loads(second.run.texts[f"lineage/{role}.json"]) for role in ("feedback", "gate")]
    ids = [set(side["feedback_ids"]) for side in sides]
    assert ids[0].isdisjoint(ids[1])
    assert len(ids[0] | ids[1]) == 45
    assert all(len(side["images"]) == len(side["feedback_ids"]) for side in sides)


def test_params_are_the_same_between_runs_and_metrics_differ_only_by_the_held_back(first: Made, second: Made) -> None:
    assert first.run.params.keys() == second.run.params.keys()
    assert {"seed", "reason", "recipe", "learning_rate", "augmentation_shift"} <= first.run.params.keys()
    extra = second.run.metrics.keys() - first.run.metrics.keys()
    assert first.run.metrics.keys() <= second.run.metrics.keys()
    assert extra
    assert all(name.startswith("heldback_") for name in extra)


def test_each_epoch_is_logged(first: Made) -> None:
    epochs = len(first.run.metrics["validation_accuracy"])
    assert 1 <= epochs <= EASY.epochs
    assert len(first.run.metrics["train_loss"]) == epochs
    assert len(first.run.metrics["golden_accuracy"]) == 1


def test_the_figures_are_there(first: Made, second: Made) -> None:
    wanted = {"loss", "confusion_matrix", "confusion_matrix_normalised", "reliability", "golden_samples"}
    assert wanted <= first.run.figures.keys()
    assert second.run.figures.keys() >= {*wanted, "feedback_samples"}
    assert all(png.startswith(b"\x89PNG") for png in second.run.figures.values())


def test_a_better_candidate_beats_the_champion_on_the_same_rows(second: Made) -> None:
    verdict = second.candidate.verdict
    rows = {check.name: check.numbers for check in verdict.checks}
    held_back = select_rows(second.order).holdout
    assert held_back is not None
    assert [*rows] == ["pinned", "golden", "benefit", "classes", "calibration", "robustness", "latency", "size"]
    assert (rows["golden"]["rows"], rows["golden"]["lost"]) == (32, 0)
    assert rows["benefit"]["rows"] == len(held_back)
    assert verdict.to_json() == second.run.texts["verdict.json"]
    assert "version 7" in second.run.texts["model_card.md"]


def test_the_stored_evidence_leads_to_the_stored_verdict(first: Made, second: Made) -> None:
    for made in (first, second):
        assert replay_verdict(made.run.texts["gate_evidence.json"]).to_json() == made.run.texts["verdict.json"]


def test_what_the_candidate_got_right_is_kept_image_by_image(first: Made, second: Made) -> None:
    for made in (first, second):
        marks = GateRowOutcomes.from_json(made.run.texts["gate_rows.json"])
        assert marks.golden.ids == made.order.split.golden.ids
        assert marks.golden.as_array.sum() == made.candidate.scores.correct
        assert (marks.recent is None) == (made is first)


def test_the_seed_decides_the_weights(first: Made) -> None:
    def first_loss(order: TrainingSpec) -> float:
        tracking, epochs = FakeTracking(), list[EpochMetrics]()
        with pytest.raises(TrainingStopped):
            make_candidate(
                order,
                tracking,
                MemoryCatalog(tracking),
                on_epoch=epochs.append,
                should_stop=lambda: bool(epochs),
            )
        return tracking.runs[0].metrics["train_loss"][0]

    assert first_loss(first.order) == first.run.metrics["train_loss"][0]
    assert first_loss(replace(first.order, seed=4)) != first.run.metrics["train_loss"][0]


def test_news_is_told_and_a_stop_is_obeyed(family: Pipeline, split: Split) -> None:
    started: list[str] = []
    epochs: list[EpochMetrics] = []
    tracking = FakeTracking()
    catalog = MemoryCatalog(tracking)
    with pytest.raises(TrainingStopped):
        make_candidate(
            order_of(family, split),
            tracking,
            catalog,
            on_start=started.append,
            on_epoch=epochs.append,
            should_stop=lambda: bool(epochs),
        )
    assert started == [tracking.runs[0].id]
    assert (len(epochs), tracking.runs[0].status) == (1, "KILLED")
    assert (catalog.held, catalog.pointers) == ({}, {})


@pytest.fixture
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in quiet_environment().items():
            environment.setenv(name, value)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("quiet")
def test_in_a_real_registry_the_candidate_comes_back_as_the_one_to_beat(
    family: Pipeline, split: Split, tmp_path: Path, mlflow_template: Path
) -> None:
    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    tracking = TrackingStore(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"))
    catalog = Catalog(tracking)
    candidate = make_candidate(order_of(family, split, feedback_on(draw_bars(30, 9))), tracking, catalog)
    champion = load_champion(catalog, family, candidate.version, tmp_path / "cache")
    assert champion.golden_digest == split.golden.digest
    answers = champion.predictor(split.golden.batch).argmax(axis=1)
    assert int((answers == split.golden.labels).sum()) == candidate.scores.correct
    assert catalog.alias("bars", "challenger") == candidate.version == champion.version
    assert int(catalog.version("bars", 1).tags["size_bytes"]) == pytest.approx(champion.size_bytes, abs=5_000)
    card = tracking.read_text(candidate.run_id, "model_card.md")
    assert card is not None
    assert "# bars" in card


@pytest.mark.slow
def test_a_retraining_begins_with_the_champions_weights_where_it_is_asked_to(
    family: Pipeline, split: Split, first: Made, tmp_path: Path
) -> None:
    kept = load_champion(first.catalog, family, first.candidate.version, tmp_path)
    order = replace(order_of(family, split), champion=kept, recipe=replace(EASY, epochs=1, warm_start=True))
    warm, cold = make(order), make(replace(order, recipe=replace(EASY, epochs=1)))
    other = make(replace(order, recipe=replace(EASY, epochs=1, warm_start=True, channels=(3, 5))))
    assert warm.run.params["begins_with"] == f"version {first.candidate.version}"
    assert [each.run.params["begins_with"] for each in (cold, other)] == ["fresh weights"] * 2
    begun = [each.run.metrics["validation_loss"][0] for each in (warm, cold)]
    assert begun[0] < begun[1]


@pytest.mark.slow
def test_a_candidate_goes_on_where_its_training_was_killed(family: Pipeline, split: Split, tmp_path: Path) -> None:
    order = replace(order_of(family, split), checkpoint_folder=tmp_path)

    def killed(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            raise ConnectionError("the machine went away")

    tracking = FakeTracking()
    with pytest.raises(ConnectionError):
        make_plain_candidate(order, tracking, MemoryCatalog(tracking), on_epoch=killed)
    assert len(list(tmp_path.iterdir())) == 1
    again, whole = make(order), make(replace(order, checkpoint_folder=None))
    assert again.candidate.scores.nll == whole.candidate.scores.nll
    assert len(again.run.metrics["train_loss"]) == len(whole.run.metrics["train_loss"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_was_trained_is_kept_while_the_registry_does_not_take_it(
    family: Pipeline, split: Split, tmp_path: Path
) -> None:
    order, told, changes = (
        replace(order_of(family, split), checkpoint_folder=tmp_path),
        list[EpochMetrics](),
        list[int](),
    )

    class Away(MemoryCatalog):
        def register(self, *_args: object, **_kwargs: object) -> int:
            raise RegistryUnavailableError("away")

    tracking = FakeTracking()
    with pytest.raises(RegistryUnavailableError):
        make_plain_candidate(order, tracking, Away(tracking), on_epoch=told.append)
    [kept] = tmp_path.iterdir()
    changed = kept.stat().st_mtime_ns
    make_plain_candidate(
        order, tracking, MemoryCatalog(tracking), on_epoch=lambda _: changes.append(kept.stat().st_mtime_ns)
    )
    assert changes == [changed] * len(told)  # no epoch was trained again
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_the_look_at_its_data(first: Made, second: Made) -> None:
    assert first.run.figures.keys() >= {"class_balance", "train_samples", "class_means"}
    seen = [set(json.loads(each.run.texts["exploration.json"])["balance"]) for each in (first, second)]
    assert seen[0] == {"train", "validation", "golden"}
    assert seen[1] == {*seen[0], "feedback"}
