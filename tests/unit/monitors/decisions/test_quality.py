"""Macro F1 and calibration: right by another's count, and no healthy model is blamed more often than promised."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from monitors.windows.jackknife import jackknife_estimate
from monitors.windows.row_statistics import calibration_error_statistic, macro_f1_statistic
from monitors.windows.window import Row
from registry.calibration_metrics import calibration_error as as_the_gate_has_it
from tests.support.monitor_examples import NOON


def rows_of(
    truth: Sequence[object] | NDArray[np.int64],
    label: Sequence[object] | NDArray[np.int64],
    confidence: NDArray[np.float64] | None = None,
    weight: float = 1.0,
    seed: int = 0,
) -> list[Row]:
    names = np.random.default_rng(seed).integers(0, 2**60, len(truth))
    sure = np.full(len(truth), 0.9) if confidence is None else confidence
    return [
        Row(str(name), NOON, str(answer), float(c), None, str(true), "audit", weight)
        for name, true, answer, c in zip(names, truth, label, sure, strict=True)
    ]


def misread(generator: np.random.Generator, labels: int, share: float, classes: int = 10) -> list[Row]:
    """Answers of which such a share names another class, all classes alike: macro F1 is then 1 - share."""
    truth = generator.integers(0, classes, labels)
    wrong = generator.random(labels) < share
    other = (truth + generator.integers(1, classes, labels)) % classes
    return rows_of(truth, np.where(wrong, other, truth), seed=int(generator.integers(2**31)))


def overconfident(generator: np.random.Generator, labels: int, by: float) -> list[Row]:
    """Answers that are right less often than their confidence says, by so much."""
    sure = generator.beta(12, 1, labels) * 0.85 + 0.15
    right = generator.random(labels) < np.clip(sure - by, 0, 1)
    return rows_of(np.zeros(labels, int), np.where(right, 0, 1), sure, seed=int(generator.integers(2**31)))


def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_occur() -> None:
    from sklearn.metrics import f1_score

    rows = misread(np.random.default_rng(1), 500, 0.2)
    expected = f1_score([row.truth for row in rows], [row.label for row in rows], average="macro")
    assert macro_f1_statistic(rows)(rows) == pytest.approx(expected)


def test_a_weight_counts_as_that_many_answers() -> None:
    light = misread(np.random.default_rng(2), 60, 0.3)
    heavy = [Row(r.prediction_id, r.at, r.label, r.confidence, None, r.truth, r.truth_source, 3.0) for r in light[:20]]
    spelt_out = light[:20] * 3 + light[20:]
    assert macro_f1_statistic(light)(heavy + light[20:]) == pytest.approx(macro_f1_statistic(light)(spelt_out))


def test_a_class_that_a_part_of_the_rows_lacks_is_left_out_of_its_mean() -> None:
    rows = rows_of([0, 0, 1, 7], [0, 0, 0, 7])
    assert macro_f1_statistic(rows)(rows) == pytest.approx((0.8 + 0 + 1) / 3)
    assert macro_f1_statistic(rows)(rows[:3]) == pytest.approx((0.8 + 0) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "share", "seed"), [(100, 0.05, 3), (300, 0.1, 4), (300, 0.02, 5)])
def test_a_model_of_just_the_asked_macro_f1_is_blamed_at_most_as_often_as_promised(
    labels: int, share: float, seed: int
) -> None:
    generator, looks, blamed = np.random.default_rng(seed), 400, 0
    for _ in range(looks):
        rows = misread(generator, labels, share)
        blamed += jackknife_estimate(macro_f1_statistic(rows), rows, 0.95).high < 1 - share
    assert blamed / looks <= 0.05 + 3 * (0.05 * 0.95 / looks) ** 0.5


def test_a_model_that_reads_much_worse_than_asked_is_blamed() -> None:
    generator = np.random.default_rng(6)
    found = [
        jackknife_estimate(macro_f1_statistic(rows), rows, 0.99).high < 0.95
        for rows in (misread(generator, 300, 0.15) for _ in range(40))
    ]
    assert np.mean(found) > 0.9


def test_with_many_labels_the_calibration_error_is_that_of_the_gate() -> None:
    rows = overconfident(np.random.default_rng(7), 20_000, 0.2)
    gate = as_the_gate_has_it(np.array([row.confidence for row in rows]), np.array([row.correct for row in rows]))
    assert calibration_error_statistic(rows)(rows) == pytest.approx(gate, abs=0.01)


def test_a_calibrated_model_has_no_calibration_error_worth_the_name() -> None:
    generator = np.random.default_rng(8)
    raw, found = [], []
    for _ in range(200):
        rows = overconfident(generator, 200, 0.0)
        raw.append(as_the_gate_has_it(np.array([r.confidence for r in rows]), np.array([r.correct for r in rows])))
        found.append(calibration_error_statistic(rows)(rows))
    assert np.mean(raw) > 0.025  # what luck alone shows
    assert np.mean(found) < 0.006


@pytest.mark.parametrize(("by", "allowed"), [(0.0, 0.01), (0.05, 0.05), (0.1, 0.1)])
def test_a_model_of_just_the_allowed_calibration_error_is_blamed_at_most_as_often_as_promised(
    by: float, allowed: float
) -> None:
    generator, looks, blamed = np.random.default_rng(9), 300, 0
    for place in range(looks):
        rows = overconfident(generator, (100, 400)[place % 2], by)
        blamed += jackknife_estimate(calibration_error_statistic(rows), rows, 0.95).low > allowed
    assert blamed / looks <= 0.05


def test_a_badly_calibrated_model_is_found() -> None:
    generator = np.random.default_rng(10)
    found = []
    for _ in range(40):
        rows = overconfident(generator, 400, 0.15)
        found.append(jackknife_estimate(calibration_error_statistic(rows), rows, 0.99).low > 0.05)
    assert np.mean(found) > 0.9


def test_no_rows_have_no_error() -> None:
    assert calibration_error_statistic([])([]) == 0.0
    assert macro_f1_statistic([])([]) == 0.0
