"""How far confidence lies from accuracy."""

import numpy as np
import pytest

from registry.calibration import calibration_error


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
