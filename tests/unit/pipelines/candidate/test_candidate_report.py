"""The examination of a candidate and what its run keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipelines.candidate.candidate_report import CandidateReport, build_report, log_report
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import ImageSet
from pipelines.engines.exportable import build_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.training.network import build_network
from tests.support.bars import draw_bars
from tests.support.fake_registry import EASY, FakeRun, bars_family, bars_split

CLASSES = ("upright", "lying")
ROWS = 120


def halves(rows: ImageSet) -> Mapping[str, Sequence[str]]:
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
    made = TorchEngine(
        build_exportable(build_network(EASY, 2, height=12, width=12), height=12, width=12), CLASSES, 12, 12
    )
    return asked, build_report(asked, made, probabilities, score_predictions(probabilities, labels, CLASSES), 1.25)


@pytest.fixture
def run() -> FakeRun:
    return FakeRun("run-1", "run", {})


def table(run: FakeRun, name: str) -> list[list[object]]:
    """The rows of a table that the run keeps."""
    data: list[list[object]] = json.loads(run.texts[f"tables/{name}.json"])["data"]
    return data


def test_the_run_keeps_scores_calibration_and_mistakes(run: FakeRun) -> None:
    asked, found = examined(12)
    log_report(run, found, asked.split.golden, CLASSES)
    assert run.metrics["golden_accuracy"] == [0.9]
    assert run.metrics["golden_brier"] == [pytest.approx(0.1 * 2 * 0.81 + 0.9 * 2 * 0.01)]
    assert run.metrics["golden_brier_low"] < run.metrics["golden_brier"] < run.metrics["golden_brier_high"]
    assert run.metrics["temperature"] == [1.25]
    assert 0 < run.metrics["latency_p50_ms"][0] <= run.metrics["latency_p95_ms"][0]
    assert sum(int(str(line[2])) for line in table(run, "confused_pairs")) == 12
    assert [(line[2], line[4]) for line in table(run, "reliability") if line[2]] == [(ROWS, ROWS - 12)]
    assert {"confused_pairs", "reliability", "robustness", "fairness_class", "fairness_hand"} <= run.figures.keys()


def test_groups_of_the_family_are_compared_and_unknown_ones_left_out(run: FakeRun) -> None:
    asked, found = examined(12)
    log_report(run, found, asked.split.golden, CLASSES)
    assert [each.factor for each in found.fairness] == ["class", "hand"]
    assert run.metrics["fairness_hand_gap"] == [pytest.approx(12 / 60)]
    left, right = (line for line in table(run, "fairness_hand") if line[1] == "")
    assert (left[0], left[3], left[8], right[0], right[3]) == ("left", 48, True, "right", 60)
    assert len(table(run, "fairness_hand")) == 2 + 2 * 2


def test_harm_and_other_data_are_measured_and_named(run: FakeRun) -> None:
    asked, found = examined(0)
    log_report(run, found, asked.split.golden, CLASSES)
    assert {"robustness_noise_1", "robustness_rotation_3", "robustness_pgd_0p1"} <= run.metrics.keys()
    assert len(table(run, "robustness")) == len(found.robustness)
    assert [(line[0], line[1]) for line in table(run, "elsewhere")] == [("bars-8", 30)]
    assert 0 <= run.metrics["bars-8_accuracy"][0] <= 1


def test_a_model_without_a_mistake_has_an_empty_table_and_no_pictures_of_mistakes(run: FakeRun) -> None:
    asked, found = examined(0)
    log_report(run, found, asked.split.golden, CLASSES)
    assert table(run, "confused_pairs") == []
    assert "confused_pairs" not in run.figures
    assert found.fairness[1].gap == 0.0
