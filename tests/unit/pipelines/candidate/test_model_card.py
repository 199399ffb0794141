"""What the model card says of an order and its outcome."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipelines.answers import judge_answers
from pipelines.candidate.candidate_report import build_report
from pipelines.candidate.model_card import _accepted_sentence, build_card
from pipelines.candidate.row_selection import select_rows
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.engines.exportable import build_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.evaluation.classification_scores import ClassificationScores, score_predictions
from pipelines.evaluation.risk_coverage import accepted_shares
from pipelines.input_evaluation import ColumnEffects, ColumnImportance
from pipelines.trainer import EpochMetrics, TrainedModel
from pipelines.training.network import build_network
from registry.card import ModelCard, render_card
from registry.gate.verdict import first_version_verdict
from registry.model_package import OnnxFile
from tests.support.bars import draw_bars
from tests.support.fake_registry import EASY, bars_family, bars_split, feedback_on

FIVE_WRONG = 5


@pytest.fixture(scope="module")
def order() -> TrainingSpec:
    split = bars_split(120)
    feedback = feedback_on(draw_bars(60, 9))
    return TrainingSpec(bars_family(split), EASY, split, feedback, None, seed=3, reason="accuracy fell")


@pytest.fixture(scope="module")
def judgement(order: TrainingSpec) -> ClassificationScores:
    labels = order.split.golden.labels
    answers = np.where(np.arange(len(labels)) < FIVE_WRONG, 1 - labels, labels)
    return score_predictions(np.eye(2, dtype=np.float32)[answers], labels, order.pipeline.classes)


@pytest.fixture(scope="module")
def card(order: TrainingSpec, judgement: ClassificationScores) -> ModelCard:
    return make_card(order, judgement)


def make_card(order: TrainingSpec, judgement: ClassificationScores, columns: ColumnEffects | None = None) -> ModelCard:
    epoch = EpochMetrics(1, 6, 0.5, 0.8, 0.4, 0.9, 0.01, 1.0)
    network = build_network(EASY, 2, height=12, width=12)
    verdict = first_version_verdict(judgement.correct, judgement.n)
    module = build_exportable(network, height=12, width=12)
    made = TorchEngine(module, order.pipeline.classes, 12, 12)
    answers = np.where(np.arange(judgement.n) < FIVE_WRONG, 1 - order.split.golden.labels, order.split.golden.labels)
    judged = judge_answers(
        order.pipeline.contract.task, np.eye(2, dtype=np.float32)[answers], order.split.golden.labels
    )
    report = build_report(order, made, judged, judgement, 1.3)
    found = replace(report, columns=columns)
    trained = TrainedModel(
        engine=made,
        size_bytes=2048,
        seconds=1.0,
        files=lambda _batch, _answers: OnnxFile(b""),
        packages=(),
        history=(epoch,),
        model_details={"Network": "1,234 parameters, 2 KiB on disk"},
        training_details={"Epochs": "1, the best was 1"},
        software={"PyTorch": "2.13.0"},
    )
    return build_card(order, select_rows(order), trained, found, verdict, "run-1")


def test_the_card_can_be_rendered_without_a_gap(card: ModelCard) -> None:
    assert render_card(card).startswith("---\n")


def test_the_summary_says_how_good_and_why(card: ModelCard) -> None:
    assert card.summary == "Bars: 95.83% of 120 golden images read right. Made because: accuracy fell."


def test_the_numbers_are_those_of_the_golden_set_with_their_interval(
    card: ModelCard, judgement: ClassificationScores
) -> None:
    assert card.metrics["golden_accuracy"] == judgement.accuracy
    assert f"{judgement.accuracy_low:.4f} and {judgement.accuracy_high:.4f}" in card.metrics_note


def test_each_class_is_counted(card: ModelCard, order: TrainingSpec) -> None:
    assert [line.name for line in card.classes] == ["upright", "lying"]
    assert sum(line.rows for line in card.classes) == 120
    assert sum(line.correct for line in card.classes) == 120 - FIVE_WRONG


def test_the_data_is_named_with_its_digests(card: ModelCard, order: TrainingSpec) -> None:
    rows = select_rows(order)
    assert rows.holdout is not None
    assert [(use.role, use.digest) for use in card.training_data] == [
        ("train", order.split.train.digest),
        ("validation", order.split.validation.digest),
    ]
    assert [(use.role, use.rows) for use in card.evaluation_data] == [
        ("golden", 120),
        ("held-back feedback", len(rows.holdout)),
    ]


def test_only_feedback_that_trained_is_counted_as_used(card: ModelCard, order: TrainingSpec) -> None:
    rows = select_rows(order)
    assert rows.feedback is not None
    assert 0 < card.feedback.count == len(rows.feedback) < 60


def test_the_details_say_how_it_was_made(card: ModelCard, order: TrainingSpec) -> None:
    assert card.details["Compared with"] == "no champion yet"
    assert card.details["Input"] == "one grey image of 12×12 pixels, from 0 to 1"
    assert card.details["Seed"] == "3"
    assert "2 KiB" in card.details["Network"]


def test_metrics_have_their_intervals_but_for_calibration_errors(card: ModelCard) -> None:
    for name, (low, high) in card.intervals.items():
        assert low <= card.metrics[name] <= high
    without = card.metrics.keys() - card.intervals.keys()
    assert without == {"golden_calibration_error", "golden_calibration_error_debiased"}


def test_calibration_fairness_robustness_and_speed_are_told_in_numbers(card: ModelCard) -> None:
    assert "divides its logits by 1.3" in card.calibration.note
    assert "By true class: 2 groups, gap between best and worst" in card.fairness.note
    assert "nothing is known" in card.fairness.note
    assert {row[0] for row in card.robustness.rows} >= {"noise", "rotation", "fgsm", "pgd"}
    assert "No other data set was at hand." in card.robustness.note
    assert [row[0] for row in card.latency.rows] == ["p50, one image", "p95, one image", "Size on disk"]


def test_the_threshold_on_the_card_accepts_the_answers_that_were_counted() -> None:
    sure = np.array([0.999991, 0.99998, 0.99996, 0.95124, 0.95121], np.float32).astype(np.float64)
    for share in accepted_shares(sure, np.array([True, True, True, True, False]), (0.01,)):
        sentence = _accepted_sentence(share)
        [written] = re.findall(r"confidence of (\S+) or more", sentence)
        assert (sure >= float(written)).sum() == share.accepted == 4
    [surest] = accepted_shares(sure, np.array([True, True, False, True, True]), (0.01,))
    [written] = re.findall(r"confidence of (\S+) or more", _accepted_sentence(surest))
    assert (sure >= float(written)).sum() == surest.accepted == 2


def test_who_to_ask_is_the_familys_word_or_the_platforms(card: ModelCard) -> None:
    assert "platform models list" in card.contact


def test_a_column_without_any_change_is_told_of_these_rows_alone(
    order: TrainingSpec, judgement: ClassificationScores
) -> None:
    found = (ColumnImportance("age", 0.1, 0.05, 0.15, 0.2), ColumnImportance("plan", 0.0, 0.0, 0.0, 0.0))
    lines = render_card(make_card(order, judgement, ColumnEffects(found, (), 100, 5, None))).splitlines()
    [age], [plan] = ([line for line in lines if line.startswith(f"| {name} |")] for name in ("age", "plan"))
    assert "| 0.0500 to 0.1500 |" in age
    assert "| none; for these rows only |" in plan
