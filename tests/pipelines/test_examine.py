"""The examination of a candidate and what its run keeps of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.data import ImageSet
from pipelines.evaluate import judge
from pipelines.examine import Examination, examine, keep
from tests.pipelines.conftest import draw_bars
from tests.pipelines.fake_registry import FakeRun

CLASSES = ("upright", "lying")
GOLDEN = draw_bars(40, 1)


def examined(golden: ImageSet, wrong: int) -> Examination:
    labels = golden.labels
    answers = np.where(np.arange(len(labels)) < wrong, 1 - labels, labels)
    probabilities = np.full((len(labels), 2), 0.1)
    probabilities[np.arange(len(labels)), answers] = 0.9
    return examine(probabilities, golden, judge(probabilities, labels, CLASSES), 1.25)


@pytest.fixture
def run() -> FakeRun:
    return FakeRun("run-1", "run", {})


def test_the_run_keeps_scores_calibration_and_mistakes(run: FakeRun) -> None:
    keep(run, examined(GOLDEN, 4), GOLDEN, CLASSES)
    assert run.metrics["golden_accuracy"] == [0.9]
    assert run.metrics["golden_brier"] == [pytest.approx(0.1 * 2 * 0.81 + 0.9 * 2 * 0.01)]
    assert run.metrics["temperature"] == [1.25]
    pairs = json.loads(run.texts["tables/confused_pairs.json"])["data"]
    assert sum(rows for _, _, rows in pairs) == 4
    bins = json.loads(run.texts["tables/reliability.json"])["data"]
    assert [(each[2], each[4]) for each in bins if each[2]] == [(40, 36)]
    shares = json.loads(run.texts["tables/confusion_matrix_normalised.json"])["data"]
    assert all(sum(line[1:]) == pytest.approx(1.0) for line in shares)
    assert "confused_pairs" in run.figures


def test_a_model_without_a_mistake_has_an_empty_table_and_no_pictures_of_mistakes(run: FakeRun) -> None:
    keep(run, examined(GOLDEN, 0), GOLDEN, CLASSES)
    assert json.loads(run.texts["tables/confused_pairs.json"])["data"] == []
    assert "confused_pairs" not in run.figures
