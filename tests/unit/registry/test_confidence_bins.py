"""Steps of confidence, and how often an answer of some confidence is right."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from registry.confidence_bins import CalibrationFit, bin_centre, bin_of, count_by_bin, fit_calibration
from registry.errors import GateError

Floats = NDArray[np.float64]


def answers(rows: int, seed: int, offset: float, slope: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidences of a model, and answers right as often as the offset and slope say."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(3.0, 2.0, rows)
    chance = 1 / (1 + np.exp(-(offset + slope * logits)))
    return 1 / (1 + np.exp(-logits)), generator.random(rows) < chance


@pytest.mark.parametrize(
    ("confidence", "step"),
    [(0.0, 0), (0.019, 0), (0.5, 25), (0.8999, 44), (0.9, 50), (0.949, 50), (0.951, 51), (0.9999, 59), (1.0, 60)],
)
def test_a_confidence_lies_in_one_step_that_are_finer_near_one(confidence: float, step: int) -> None:
    assert bin_of(confidence) == step


def test_the_middle_of_a_step_lies_in_it_and_steps_grow_with_the_confidence() -> None:
    written = [*range(45), *range(50, 61)]
    assert [bin_of(bin_centre(step)) for step in written] == written
    order = [bin_of(each) for each in np.linspace(0, 1, 100_001)]
    assert order == sorted(order)


def test_steps_of_an_earlier_rule_keep_their_meaning() -> None:
    assert [bin_centre(step) for step in range(45, 50)] == pytest.approx([0.91, 0.93, 0.95, 0.97, 0.99])


@pytest.mark.parametrize(("offset", "slope"), [(0.0, 1.0), (-1.0, 0.6), (1.0, 1.8)])
def test_a_calibration_finds_how_often_answers_are_right(offset: float, slope: float) -> None:
    confidence, right = answers(20_000, 1, offset, slope)
    found = fit_calibration(confidence, right, confidence[:10])
    assert found.offset == pytest.approx(offset, abs=0.12)
    assert found.slope == pytest.approx(slope, abs=0.06)
    fresh, truly = answers(20_000, 2, offset, slope)
    expected = np.mean([found.error_probability(each) for each in fresh.tolist()])
    assert expected == pytest.approx(float((~truly).mean()), abs=0.012)


def test_with_few_answers_and_no_error_it_stays_near_the_models_own_word() -> None:
    sure = np.linspace(0.6, 0.999, 40)
    found = fit_calibration(sure, np.ones(40, dtype=np.bool_), sure)
    assert 0.002 < found.error_probability(0.9) < 0.1
    assert found.error_probability(0.6) > found.error_probability(0.9) > found.error_probability(0.999) > 0


def test_a_model_that_is_sure_and_wrong_is_believed_less() -> None:
    sure, right = np.full(500, 0.999), np.arange(500) % 5 > 0
    assert fit_calibration(sure, right, sure).error_probability(0.999) == pytest.approx(0.2, abs=0.02)


def test_steps_lose_next_to_nothing_of_the_expected_errors() -> None:
    confidence, right = answers(5_000, 3, 0.0, 1.0)
    found = fit_calibration(confidence, right, confidence)
    exact = np.mean([found.error_probability(each) for each in confidence.tolist()])
    errors = found.error_by_bin()
    counted = sum(errors[step] * n for step, n in found.golden.items()) / sum(found.golden.values())
    assert counted == pytest.approx(exact, abs=0.0005)


def test_it_is_kept_in_a_tag_and_read_back() -> None:
    found = fit_calibration(*answers(3_000, 5, 0.2, 0.9), answers(3_000, 6, 0.2, 0.9)[0])
    text = found.to_json()
    assert CalibrationFit.from_json(text) == found
    assert len(text) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"offset":0,"slope":1,"rows":9,"golden":{"99":1}}',
        '{"offset":NaN,"slope":1,"rows":9,"golden":{}}',
    ],
)
def test_what_is_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(GateError, match="is no calibration"):
        CalibrationFit.from_json(text)


def test_nothing_is_learnt_from_no_answers() -> None:
    with pytest.raises(GateError, match="cannot be learnt from: give one each"):
        fit_calibration(np.zeros(0), np.zeros(0, dtype=np.bool_), np.zeros(0))


def test_confidences_of_nothing_and_certainty_give_finite_chances() -> None:
    doubt = replace(fit_calibration(*answers(50, 7, 0, 1), np.array([0.5])), slope=40.0)
    assert 0 <= doubt.error_probability(1.0) < 1e-9
    assert doubt.error_probability(0.0) == pytest.approx(1.0)
    assert count_by_bin([1.0, 0.0, 1.0]) == {0: 1, 60: 2}
