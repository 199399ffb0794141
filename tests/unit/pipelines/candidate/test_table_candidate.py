"""A candidate of a table: trained without torch or recipes, compared, registered as one ONNX graph."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.row_selection import select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec, load_champion
from pipelines.data import Examples, FeedbackRows, Split
from pipelines.pipeline import Pipeline
from registry.gate.evidence import EVIDENCE_FILE, GateEvidence, evidence_from_json
from registry.gate.verdict import replay_verdict
from registry.mlflow_server import quiet_environment
from registry.model_contract import classification_task
from tests.support.fake_registry import FakeRun, FakeTracking, MemoryCatalog
from tests.support.visits_pipeline import (
    CONTRACT,
    LogisticTrainer,
    draw_visits,
    visits_feedback,
    visits_pipeline,
    visits_split,
)


@pytest.fixture(scope="module")
def split() -> Split:
    return visits_split()


@pytest.fixture(scope="module")
def pipeline(split: Split) -> Pipeline:
    return visits_pipeline(split)


def spec_of(
    pipeline: Pipeline, split: Split, feedback: FeedbackRows | None = None, champion: Champion | None = None
) -> TrainingSpec:
    return TrainingSpec(pipeline, pipeline.recipe(), split, feedback, champion, seed=3, reason="for a test")


def make(spec: TrainingSpec, catalog: MemoryCatalog) -> tuple[Candidate, FakeRun]:
    candidate = make_candidate(spec, catalog.tracking, catalog)
    return candidate, catalog.tracking.runs[-1]


@pytest.fixture(scope="module")
def catalog() -> MemoryCatalog:
    return MemoryCatalog(FakeTracking())


@pytest.fixture(scope="module")
def first(pipeline: Pipeline, split: Split, catalog: MemoryCatalog) -> tuple[Candidate, FakeRun]:
    return make(spec_of(pipeline, split), catalog)


def test_a_first_version_is_registered_with_its_graph_and_contract(
    first: tuple[Candidate, FakeRun], catalog: MemoryCatalog
) -> None:
    candidate, run = first
    assert candidate.verdict.outcome == "promote"
    assert candidate.scores.accuracy > 0.9
    assert run.onnx is not None
    assert run.models == {}
    assert catalog.contract("visits", candidate.version) == CONTRACT
    assert catalog.alias("visits", "challenger") == candidate.version
    tags = catalog.version("visits", candidate.version).tags
    assert (tags["recipe"], int(tags["size_bytes"])) == ("default", len(run.onnx))
    assert "temperature" not in tags


def test_card_and_report_say_what_a_missing_column_and_a_new_category_cost(first: tuple[Candidate, FakeRun]) -> None:
    candidate, run = first
    card = run.texts["model_card.md"]
    assert "one row of age (number), plan (category)" in card
    assert "golden rows answered right" in card
    assert "logistic regression of 3 weights" in card
    for kind in ("without_age_1", "without_plan_1", "unseen_plan_1"):
        assert run.metrics[f"robustness_{kind}"][0] < candidate.scores.accuracy
    assert "golden_samples" not in run.figures
    assert run.metrics["importance_age"][0] > 0.1
    assert run.params["steps"] == 400


def test_the_card_tells_what_the_columns_do_and_how_segments_fare(
    pipeline: Pipeline, split: Split, catalog: MemoryCatalog
) -> None:
    named = replace(
        pipeline, sensitive_groups=lambda rows: {"plan / tariff": [str(p) for p in rows.batch.array("plan")]}
    )
    _, run = make(spec_of(named, split), catalog)
    card = run.texts["model_card.md"]
    assert "type: tabular-classification" in card
    assert "image" not in card.partition("# visits")[0]
    [age] = [line for line in card.splitlines() if line.startswith("| age |")]
    [plan] = [line for line in card.splitlines() if line.startswith("| plan |")]
    assert re.search(r"yes \| 0\.\d+ at 20 \| 0\.\d+ at 69 \|$", age), age
    assert re.search(r"yes \| 0\.\d+ at free \| 0\.\d+ at gold \|$", plan), plan
    assert "each of 1 stretches" not in card
    assert "By plan / tariff: 2 groups, gap between best and worst" in card
    assert "Holm per factor, every row counting singly" in card
    assert re.search(r"\| without age \| 1 \| 400 \| [^|]+\| [^|]+\| [1-9]\d* \|", card)
    assert "fairness_plan___tariff_gap" in run.metrics


def test_a_champion_is_opened_from_its_graph_and_the_gate_compares_with_it(
    pipeline: Pipeline, split: Split, first: tuple[Candidate, FakeRun], catalog: MemoryCatalog, tmp_path: Path
) -> None:
    champion = load_champion(catalog, pipeline, first[0].version, tmp_path)
    again, run = make(spec_of(pipeline, split, visits_feedback(draw_visits(200, 9, "later")), champion), catalog)
    evidence = evidence_from_json(run.texts[EVIDENCE_FILE])
    assert isinstance(evidence, GateEvidence)
    assert (evidence.robustness, evidence.strong) == ({}, {})
    assert evidence.feedback is not None
    assert again.verdict.outcome in ("keep", "inconclusive")
    assert replay_verdict(run.texts[EVIDENCE_FILE]) == again.verdict


def test_a_better_candidate_takes_a_bad_champions_place(
    pipeline: Pipeline, split: Split, catalog: MemoryCatalog, tmp_path: Path
) -> None:
    wrong = replace(split, train=draw_visits(300, 5, "train", flipped=True))
    spoilt, _ = make(spec_of(pipeline, wrong), catalog)
    champion = load_champion(catalog, pipeline, spoilt.version, tmp_path)
    better, _ = make(spec_of(pipeline, split, visits_feedback(draw_visits(300, 9, "later")), champion), catalog)
    assert better.verdict.outcome == "promote"


def test_a_champion_is_compared_on_classes_in_another_order(
    pipeline: Pipeline, split: Split, first: tuple[Candidate, FakeRun], catalog: MemoryCatalog, tmp_path: Path
) -> None:
    task = replace(classification_task(CONTRACT), names=("yes", "no", "later"))
    turned = replace(pipeline, contract=replace(CONTRACT, task=task))
    known = load_champion(catalog, pipeline, first[0].version, tmp_path).predictor(split.golden.batch)
    aligned = load_champion(catalog, turned, first[0].version, tmp_path).predictor(split.golden.batch)
    assert np.array_equal(aligned, np.hstack([known[:, ::-1], np.zeros((len(known), 1), dtype=np.float32)]))


def test_equal_rows_with_other_outcomes_all_count(pipeline: Pipeline, split: Split) -> None:
    feedback = visits_feedback(Examples.concat("twice", draw_visits(200, 9, "one"), draw_visits(200, 9, "two")))
    assert len(set(feedback.content_hashes)) < len(feedback)
    rows = select_rows(spec_of(pipeline, split, feedback))
    assert rows.feedback is not None
    assert rows.holdout is not None
    assert rows.excluded == ()
    assert len(rows.feedback) + len(rows.holdout) == 400
    assert not set(rows.feedback.groups) & set(rows.holdout.groups)
    assert len(rows.epoch_rows) == len(split.train) + len(rows.feedback)
    assert rows.base_excluded == 0


def test_nothing_of_a_golden_group_trains(pipeline: Pipeline, split: Split) -> None:
    mine = visits_feedback(draw_visits(200, 9, "golden"))  # the people of the golden side, later
    rows = select_rows(spec_of(pipeline, split, mine))
    assert rows.feedback is not None
    assert len(rows.feedback) == 0
    assert {label.detail for label in rows.excluded if label.reason == "of a judged group"} == {
        "its group is judged on"
    }


def test_a_trainer_is_given_the_champion_the_recipe_and_where_to_stop(
    pipeline: Pipeline, first: tuple[Candidate, FakeRun]
) -> None:
    assert isinstance(pipeline.trainer, LogisticTrainer)
    request = pipeline.trainer.asked[0]
    assert (request.recipe.name, request.champion, request.should_stop()) == ("default", None, False)
    assert request.weights.shape == (len(request.rows),)


def test_making_a_candidate_of_a_table_imports_no_torch() -> None:
    code = (
        "import sys; from tests.support.visits_pipeline import *; "
        "from pipelines.candidate.make_candidate import make_candidate; "
        "from pipelines.candidate.candidate_report import build_report; "
        "print([name for name in ('torch', 'captum') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=quiet_environment()
    )
    assert done.stdout.strip() == "[]"


def test_rows_later_than_a_champions_training_judge_it_whatever_rows_did_before(
    pipeline: Pipeline, split: Split, catalog: MemoryCatalog, tmp_path: Path
) -> None:
    daily = replace(pipeline, contract=replace(CONTRACT, block_seconds=10))
    wrong = replace(split, train=draw_visits(300, 5, "train", flipped=True))
    spoilt, _ = make(spec_of(daily, wrong), catalog)
    assert catalog.version("visits", spoilt.version).tags["trained_until"] == "299.000"
    champion = load_champion(catalog, daily, spoilt.version, tmp_path)
    fresh = draw_visits(400, 77, "fresh")
    assert fresh.times is not None

    later = replace(split, golden=replace(fresh, times=fresh.times + 300.0))
    better, run = make(spec_of(daily, later, champion=champion), catalog)
    assert better.verdict.outcome == "promote"
    evidence = evidence_from_json(run.texts[EVIDENCE_FILE])
    assert isinstance(evidence, GateEvidence)
    assert evidence.golden.blocks is not None
    assert len(set(evidence.golden.blocks.tolist())) == 40, "one observation for each ten seconds"
    assert replay_verdict(run.texts[EVIDENCE_FILE]) == better.verdict

    again, run = make(spec_of(daily, later, champion=champion), catalog)
    second = evidence_from_json(run.texts[EVIDENCE_FILE])
    assert isinstance(second, GateEvidence)
    assert second.attempt > evidence.attempt, "golden rows that move on are the same ones for the most part"

    overlapping = replace(split, golden=replace(fresh, times=fresh.times + 150.0))
    _, run = make(spec_of(daily, overlapping, champion=champion), catalog)
    half = evidence_from_json(run.texts[EVIDENCE_FILE])
    assert isinstance(half, GateEvidence)
    assert half.golden.n == 250, "the days that the champion has not learnt"
    early = replace(split, golden=replace(fresh, times=fresh.times - 60.0))
    other, _ = make(spec_of(daily, early, champion=champion), catalog)
    assert other.verdict.outcome == "inconclusive", "40 rows are later"
    assert "nothing can be compared" in other.verdict.reasons[0]
    assert again.verdict.outcome in ("promote", "inconclusive")
