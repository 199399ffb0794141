"""How far confidence lies from accuracy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from registry.calibration_metrics import BINS, calibration_error, debiased_calibration_error, reliability_bins


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [
        ([0.9] * 10, [True] * 9 + [False], 0.0),
        ([0.9] * 10, [True] * 5 + [False] * 5, 0.4),
        ([1.0, 0.2], [False, True], 0.9),
        ([], [], 0.0),
    ],
)
def test_the_error_is_the_mean_gap_over_the_bins(confidence: list[float], right: list[bool], error: float) -> None:
    assert calibration_error(np.array(confidence), np.array(right, dtype=np.bool_)) == pytest.approx(error)


def drawn(rows: int, slope: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences, and whether each answer was right: as often as it says where the slope is 1."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.5, 1.0, rows)
    return confidence, generator.random(rows) < 0.5 + slope * (confidence - 0.5)


def test_an_honest_model_has_no_debiased_error_where_the_plain_one_shows_chance() -> None:
    plain, debiased = np.array(
        [
            [error(*drawn(150, 1.0, seed)) for seed in range(60)]
            for error in (calibration_error, debiased_calibration_error)
        ]
    ).mean(axis=1)
    assert plain > 0.06
    assert debiased < plain / 2


def test_a_boasting_model_has_a_debiased_error_of_its_gap() -> None:
    confidence, right = drawn(40_000, 0.6, 1)
    assert debiased_calibration_error(confidence, right) == pytest.approx(
        0.4 * np.sqrt(np.mean((confidence - 0.5) ** 2)), abs=0.01
    )


def test_no_answers_have_no_error() -> None:
    assert debiased_calibration_error(np.zeros(0), np.zeros(0, dtype=np.bool_)) == 0.0


def test_the_bins_of_the_diagram_add_up_to_the_error() -> None:
    confidence, right = drawn(500, 0.8, 1)
    bins = reliability_bins(confidence, right)
    gaps = sum(each.rows * abs(each.confidence - each.correct / each.rows) for each in bins if each.rows)
    assert (len(bins), sum(each.rows for each in bins)) == (BINS, 500)
    assert gaps / 500 == pytest.approx(calibration_error(confidence, right))
    assert all(each.low <= each.confidence <= each.high for each in bins if each.rows)
