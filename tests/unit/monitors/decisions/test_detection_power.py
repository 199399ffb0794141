"""What a rule about labels finds at a rate of labels and a size of the golden set, and the words for it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.decisions.detectors.detection_power import (
    LEAST_USEFUL_LABELS,
    USEFUL_DAYS,
    USEFUL_LABELS,
    DetectionPower,
    classes_sentence,
    detection_power,
    finds_text,
    power_sentence,
)
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Observation, simple_null, start_detector, update_detector
from monitors.windows.window import Baseline

START = datetime(2026, 1, 1, tzinfo=UTC)

DIGITS = tuple("0123456789")
DROP = Rule.model_validate(
    {
        "name": "accuracy-drop",
        "metric": "accuracy_drop",
        "above": "0.5 points",
        "window": "24h",
        "min_samples": 30,
        "false_alarms": "1 per 90d",
    }
)
CLASSES = DROP.model_copy(update={"name": "class-error", "metric": "class_error", "above": 0.1})


def forecast(rule: Rule = DROP, golden: int = 3000, per_day: float = 100) -> DetectionPower:
    power = detection_power(rule, Baseline(round(0.99 * golden), golden, {}), per_day, DIGITS)
    assert power is not None
    return power


def test_the_smallest_drops_found_are_those_of_a_simulation_label_by_label() -> None:
    """2.1 points within 14 days, 1.5 within 30, below 0.9 never, with 3,000 golden rows and 100 labels a day."""
    power = forecast()
    assert power.soon == pytest.approx(0.021, rel=0.2)
    assert power.later == pytest.approx(0.015, rel=0.2)
    assert power.even is not None
    assert power.soon is not None
    assert power.even < power.soon
    assert power.never == pytest.approx(0.009, abs=0.002)


def test_more_golden_rows_and_more_labels_find_smaller_drops() -> None:
    few, many = forecast(golden=400), forecast(golden=10_000)
    assert few.soon is not None
    assert many.soon is not None
    assert few.soon > many.soon
    assert few.more_golden_rows == 1000
    assert few.soon_with_more_golden is not None
    assert few.soon_with_more_golden < few.soon
    assert few.soon_with_more_labels is not None
    assert few.soon_with_more_labels < few.soon


def test_classes_share_labels_and_budget() -> None:
    power = forecast(CLASSES)
    assert power.labels_per_day == 10
    assert power.soon is not None
    assert power.soon > 0.15
    assert power.never == pytest.approx(0.1)


def test_it_says_from_how_many_classes_on_a_rule_by_class_sees_little() -> None:
    assert classes_sentence(forecast(CLASSES)) is None
    power = DetectionPower("by-class", "class_error", 0.1, 0, None, None, None, 0.1, classes=1000)
    assert power.useful_classes == 300
    assert (sentence := classes_sentence(power)) is not None
    assert "100 labels a day are enough for about 300 classes, and there are 1,000" in sentence
    assert "in 90 days each gets 9.0 labels on average" in sentence
    silent = classes_sentence(DetectionPower("by-class", "class_error", 0.0, 0, None, None, None, 0.1, classes=7))
    assert silent is not None
    assert silent.startswith("rule by-class: no labels come, so each of 7 classes may break unseen;")
    assert classes_sentence(DetectionPower("r", "accuracy_drop", 0.1, 400, None, None, None, 0.1)) is None


@pytest.mark.parametrize(("labels", "share"), [(USEFUL_LABELS, 0.5), (LEAST_USEFUL_LABELS, 1.0)])
def test_so_many_labels_find_a_class_that_breaks_and_half_as_many_do_not(labels: int, share: float) -> None:
    """In 90 days, of 3 000 classes that share one alarm in 90 days, after 14 days in which budget was earned."""

    def found(expected: float) -> float:
        hits, per_second = 0, 1 / timedelta(days=USEFUL_DAYS).total_seconds()
        for seed in range(100):
            draw = np.random.default_rng(seed)
            times = np.sort(draw.random(draw.poisson(expected))) * USEFUL_DAYS
            seen = [Observation(START + timedelta(days=at), float(draw.random() < share)) for at in times.tolist()]
            begun = start_detector(simple_null(0.1), START - timedelta(days=14))
            hits += update_detector(begun, seen, per_second, 5, 1 / 3000).alarmed_at is not None
        return hits / 100

    assert found(labels) >= 0.7
    assert found(labels / 2) <= 0.4


def test_without_enough_labels_nothing_is_found_and_the_sentence_says_so() -> None:
    power = forecast(per_day=0.2)
    assert (power.soon, power.later) == (None, None)
    sentence = power_sentence(power)
    assert "a label every 5 days nothing is found within 30 days in 9 of 10 cases" in sentence
    assert "never, however many labels come" in sentence
    assert forecast(per_day=0).later is None
    assert "no labels nothing is found" in power_sentence(forecast(per_day=0))


def test_the_sentence_says_what_is_found_what_never_and_what_would_help() -> None:
    power = DetectionPower("r", "accuracy_drop", 100, 3000, 0.024, 0.017, 0.019, 0.01, 10_000, 0.021, 0.017)
    assert power_sentence(power) == (
        "rule r: with 3,000 golden rows and 100 labels a day a drop of 2.4 points is found within 14 days in 9 of 10 "
        "cases (1.7 points in half of them), 1.9 points within 30 days; up to 1.0 points never, however many labels "
        "come; within 14 days 2.1 points with 10,000 golden rows, 1.7 points with 10 times the labels"
    )
    late = DetectionPower("r", "class_error", 2, 0, None, None, 0.33, 0.1)
    assert (
        finds_text(late)
        == "a class of which 33 % are misread is found within 30 days in 9 of 10 cases; up to 10 % never"
    )


def test_a_rule_without_detectors_of_labels_has_no_forecast() -> None:
    baseline = Baseline(990, 1000, {})
    assert detection_power(DROP.model_copy(update={"false_alarms": None}), baseline, 100, DIGITS) is None
    assert detection_power(DROP, Baseline(0, 0, {}), 100, DIGITS) is None
