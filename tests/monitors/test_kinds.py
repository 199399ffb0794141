from dataclasses import replace

import pytest

from monitors.decisions.decision import DECISIONS
from monitors.rules.metric_catalog import KINDS, family_of, kind_of
from monitors.rules.units import parse_threshold


def test_every_kind_of_metric_is_decided_and_its_example_is_a_threshold() -> None:
    assert set(DECISIONS) == {*KINDS, "python", "evidently"}
    for metric in (*KINDS, "python:package.module:function", "evidently:F1Score"):
        written = kind_of(metric).example.split('"')[1]
        assert parse_threshold(written, metric) > 0
        assert family_of(metric) in DECISIONS


@pytest.mark.parametrize(
    "metric", ["python:", "python:f", "python:a..b:f", "python:a:b:c", "evidently:f1", "evidently:A.B", "sql:x"]
)
def test_a_metric_of_ones_own_must_name_something(metric: str) -> None:
    with pytest.raises(ValueError, match=r"python:package\.module:function, evidently:MetricClass"):
        kind_of(metric)


def test_a_metric_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(ValueError, match="allowed: accuracy_drop, calibration_error"):
        kind_of("accuracy")


def test_an_early_warning_may_start_nothing() -> None:
    kind = kind_of("accuracy_drop")
    assert kind.allowed_actions == ("retrain", "none")
    assert replace(kind, early=True).allowed_actions == ("none",)
