"""Confidence of strings, calibrated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.strings.ctc_decoding import Candidate
from pipelines.strings.string_confidence import (
    candidate_probabilities,
    fit_string_temperature,
    position_confidences,
)


def candidates(*pairs: tuple[str, float]) -> tuple[Candidate, ...]:
    return tuple(Candidate(text, math.log(probability)) for text, probability in pairs)


def test_probabilities_sum_to_one_and_a_higher_temperature_makes_them_shyer() -> None:
    found = candidates(("12", 0.8), ("72", 0.1), ("2", 0.1))
    assert candidate_probabilities(found, 1.0) == pytest.approx([0.8, 0.1, 0.1])
    shy = candidate_probabilities(found, 3.0)
    assert shy.sum() == pytest.approx(1.0)
    assert 0.4 < shy[0] < 0.6


def test_a_position_is_as_sure_as_all_candidates_that_agree_there() -> None:
    found = candidates(("12", 0.7), ("72", 0.2), ("2", 0.1))
    assert position_confidences(found, np.array([0.7, 0.2, 0.1])) == pytest.approx((0.7, 0.9))


@pytest.mark.parametrize("truth", [0.5, 2.0, 4.0])
def test_the_temperature_that_made_the_errors_is_found_again(truth: float) -> None:
    rng = np.random.default_rng(0)
    readings, texts = [], []
    for _ in range(4_000):
        sure = rng.uniform(0.5, 0.999)
        found = candidates(("1", sure), ("2", 1 - sure))
        readings.append(found)
        texts.append("1" if rng.random() < candidate_probabilities(found, truth)[0] else "2")
    assert fit_string_temperature(readings, texts) == pytest.approx(truth, rel=0.15)


def test_strings_that_were_not_read_teach_no_temperature() -> None:
    with pytest.raises(DataError, match="no string of the validation part was read"):
        fit_string_temperature([()], ["1"])
