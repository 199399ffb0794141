"""The examination of a candidate and what its run keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipelines.answers import judge_answers
from pipelines.candidate.candidate_report import CandidateReport, build_report, fairness, log_report
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import Examples
from pipelines.engines.exportable import build_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.evaluation.classification_scores import score_answers
from pipelines.input_evaluation import ColumnEffects, ColumnImportance, RobustnessScore
from pipelines.training.network import build_network
from registry.prediction_task import Classification
from tests.support.bars import draw_bars
from tests.support.fake_registry import EASY, FakeRun, bars_family, bars_split

CLASSES = ("upright", "lying")
ROWS = 120


def halves(rows: Examples) -> Mapping[str, Sequence[str]]:
    """The first half of the rows was written by the left hand, the second by the right one."""
    return {"hand": ["left" if at < len(rows) / 2 else "right" for at in range(len(rows))], "age": [""] * len(rows)}


def order() -> TrainingSpec:
    split = bars_split(ROWS)
    family = replace(bars_family(split), sensitive_groups=halves)
    return TrainingSpec(family, EASY, split, None, None, seed=3, reason="a test", external_datasets=(draw_bars(30, 8),))


def examined(wrong: int) -> tuple[TrainingSpec, CandidateReport]:
    """A model that reads the first golden rows wrong, with confidence 0.9 throughout."""
    asked = order()
    labels = asked.split.golden.labels
    answers = np.where(np.arange(len(labels)) < wrong, 1 - labels, labels)
    probabilities = np.full((len(labels), 2), 0.1)
    probabilities[np.arange(len(labels)), answers] = 0.9
    judged = judge_answers(Classification(CLASSES), probabilities, labels)
    made = TorchEngine(
        build_exportable(build_network(EASY, 2, height=12, width=12), height=12, width=12), CLASSES, 12, 12
    )
    return asked, build_report(asked, made, judged, score_answers(judged), 1.25)


@pytest.fixture
def run() -> FakeRun:
    return FakeRun("run-1", "run", {})


@pytest.fixture
def undrawn() -> FakeRun:
    """A run that keeps no figures, where only numbers are looked at."""
    return FakeRun("run-1", "run", {}, figures=False)


def table(run: FakeRun, name: str) -> list[list[object]]:
    """The rows of a table that the run keeps."""
    data: list[list[object]] = json.loads(run.texts[f"tables/{name}.json"])["data"]
    return data


def test_the_run_keeps_scores_calibration_and_mistakes(run: FakeRun) -> None:
    asked, found = examined(12)
    log_report(run, found, asked.split.golden, CLASSES, asked.pipeline.evaluation)
    assert run.metrics["golden_accuracy"] == [0.9]
    assert run.metrics["golden_brier"] == [pytest.approx(0.1 * 2 * 0.81 + 0.9 * 2 * 0.01)]
    assert run.metrics["golden_brier_low"] < run.metrics["golden_brier"] < run.metrics["golden_brier_high"]
    assert run.metrics["temperature"] == [1.25]
    assert 0 < run.metrics["latency_p50_ms"][0] <= run.metrics["latency_p95_ms"][0]
    assert sum(int(str(line[2])) for line in table(run, "confused_pairs")) == 12
    assert [(line[2], line[4]) for line in table(run, "reliability") if line[2]] == [(ROWS, ROWS - 12)]
    assert {"confused_pairs", "reliability", "robustness", "fairness_class", "fairness_hand"} <= run.figures.keys()


def test_groups_of_the_family_are_compared_and_unknown_ones_left_out(undrawn: FakeRun) -> None:
    asked, found = examined(12)
    log_report(undrawn, found, asked.split.golden, CLASSES, asked.pipeline.evaluation)
    assert [each.factor for each in found.fairness] == ["class", "hand"]
    assert undrawn.metrics["fairness_hand_gap"] == [pytest.approx(12 / 60)]
    left, right = (line for line in table(undrawn, "fairness_hand") if line[1] == "")
    assert (left[0], left[3], left[8], right[0], right[3]) == ("left", 48, True, "right", 60)
    assert len(table(undrawn, "fairness_hand")) == 2 + 2 * 2


def test_harm_and_other_data_are_measured_and_named(undrawn: FakeRun) -> None:
    asked, found = examined(0)
    log_report(undrawn, found, asked.split.golden, CLASSES, asked.pipeline.evaluation)
    assert {"robustness_noise_1", "robustness_rotation_3", "robustness_pgd_0p1"} <= undrawn.metrics.keys()
    assert len(table(undrawn, "robustness")) == len(found.robustness)
    assert [(line[0], line[1]) for line in table(undrawn, "elsewhere")] == [("bars-8", 30)]
    assert 0 <= undrawn.metrics["bars-8_accuracy"][0] <= 1


def test_a_model_without_a_mistake_has_an_empty_table_and_no_pictures_of_mistakes(run: FakeRun) -> None:
    asked, found = examined(0)
    log_report(run, found, asked.split.golden, CLASSES, asked.pipeline.evaluation)
    assert table(run, "confused_pairs") == []
    assert "confused_pairs" not in run.figures
    assert found.fairness[1].gap == 0.0


def test_what_two_names_would_overwrite_is_kept_under_both(run: FakeRun) -> None:
    asked, found = examined(12)
    tags = {
        name: halves(asked.split.golden)["hand"]
        for name in ("pen_1", "pen 1", "pen.1", "pen", "pen_cells", "class", "group")
    }
    labels, answers = asked.split.golden.labels, found.predictions
    groups = dict.fromkeys(asked.split.golden.ids, "night")
    asked = replace(asked, pipeline=replace(asked.pipeline, sensitive_groups=lambda _: tags), group_tags=groups)
    importance = tuple(
        ColumnImportance(name, added, 0, 1, 0) for name, added in (("a_b", 0.1), ("a b", 0.2), ("a.b", 0.3))
    )
    scores = tuple(
        RobustnessScore(f"without {name}", 1, correct, 100) for name, correct in (("a_b", 1), ("a b", 2), ("a.b", 3))
    )
    found = replace(
        found,
        fairness=fairness(asked, judge_answers(asked.pipeline.contract.task, np.eye(2)[answers], labels)),
        robustness=scores,
        columns=ColumnEffects(importance, (), 100, 5, None),
    )
    log_report(run, found, asked.split.golden, CLASSES, asked.pipeline.evaluation)
    metrics = {name: values[0] for name, values in run.metrics.items()}
    assert metrics["importance_a_b"] == 0.1, "the column that is called so"
    assert sorted(value for name, value in metrics.items() if name.startswith("importance_")) == [0.1, 0.2, 0.3]
    assert sorted(value for name, value in metrics.items() if name.startswith("robustness_")) == [0.01, 0.02, 0.03]
    assert len([name for name in metrics if name.startswith("fairness_") and name.endswith("_differ")]) == 2 * 9
    assert len({name for name in run.figures if name.startswith("fairness_")}) == 9
    assert [each.factor for each in found.fairness][-3:] == ["class (sensitive)", "group (sensitive)", "group"]
    assert metrics["fairness_pen_1_gap"] == metrics["fairness_pen_gap"] == pytest.approx(12 / 60)
    again = replace(found, columns=ColumnEffects(importance[::-1], (), 100, 5, None)).as_metrics()
    assert again == found.as_metrics(), "names are the same in any order"
