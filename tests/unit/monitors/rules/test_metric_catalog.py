from dataclasses import replace
from inspect import signature

import pytest

from monitors.decisions.decision import decision_function
from monitors.rules.metric_catalog import METRICS, metric_spec
from monitors.rules.quantities import parse_threshold
from monitors.windows import row_statistics


def test_every_kind_of_metric_is_decided_and_its_example_is_a_threshold() -> None:
    for metric in (*METRICS, "python:package.module:function", "evidently:F1Score"):
        written = metric_spec(metric).example.split('"')[1]
        assert parse_threshold(written, metric) > 0
        assert next(iter(signature(decision_function(metric_spec(metric).decided_by)).parameters)) == "rule"
        assert hasattr(row_statistics, metric_spec(metric).statistic or "__name__")


@pytest.mark.parametrize(
    "metric", ["python:", "python:f", "python:a..b:f", "python:a:b:c", "evidently:f1", "evidently:A.B", "sql:x"]
)
def test_a_metric_of_ones_own_must_name_something(metric: str) -> None:
    with pytest.raises(ValueError, match=r"python:package\.module:function, evidently:MetricClass"):
        metric_spec(metric)


def test_a_metric_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(ValueError, match="allowed: " + ", ".join(sorted(METRICS))):
        metric_spec("accuracy")


def test_an_early_warning_may_start_nothing() -> None:
    kind = metric_spec("accuracy_drop")
    assert kind.allowed_actions == ("retrain", "none")
    assert replace(kind, is_early_warning=True).allowed_actions == ("none",)
