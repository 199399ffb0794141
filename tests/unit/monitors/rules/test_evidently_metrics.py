"""The table of Evidently's metrics that give a number here is true of the Evidently that is installed."""

import importlib
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from monitors.errors import MetricsError, RulesError
from monitors.rules.alerts_config import parse_rules
from monitors.rules.evidently_catalog import SUPPORTED_METRICS, config_problems
from tests.support.monitor_examples import DIGITS

MORE: Mapping[str, Mapping[str, object]] = {
    "CategoryCount": {"category": "3"},
    "InListValueCount": {"values": ["3"]},
    "OutListValueCount": {"values": ["3"]},
    "InRangeValueCount": {"left": 0, "right": 1},
    "OutRangeValueCount": {"left": 0, "right": 1},
}
LIKELY: tuple[Mapping[str, object], ...] = (
    {},
    {"column": "confidence"},
    {"column": "label"},
    {"column_name": "confidence"},
    {"k": 3},
    {"k": 3, "item_features": ["confidence"]},
    {"embeddings_name": "confidence"},
)


def installed() -> list[str]:
    """Every metric class that Evidently exports."""
    importlib.import_module("monitors.windows.evidently_adapter")  # imports Evidently with its warnings silenced
    evidently, base = (
        importlib.import_module("evidently.metrics"),
        importlib.import_module("evidently.core.metric_types"),
    )
    found = vars(evidently).items()
    return sorted(name for name, each in found if isinstance(each, type) and issubclass(each, base.Metric))


def written(name: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each way to write a computable metric."""
    known = SUPPORTED_METRICS[name]
    parts: list[str | None] = [*known.values] or (["3"] if known.by_class else [None])
    for column in known.columns or (None,):
        for part in parts:
            yield ({} if column is None else {"column": column}) | dict(MORE.get(name, {})), part


def test_the_table_names_metrics_of_evidently_only() -> None:
    assert set(SUPPORTED_METRICS) <= set(installed())


@pytest.mark.parametrize("name", sorted(SUPPORTED_METRICS))
def test_what_is_taken_gives_a_number(name: str) -> None:
    from monitors.windows import evidently_adapter

    for params, part in written(name):
        assert list(config_problems(name, params, part)) == []
        assert math.isfinite(evidently_adapter.value_on_synthetic_rows(name, params, part, DIGITS)), (params, part)


def test_what_is_refused_gives_no_number_whatever_it_is_made_with() -> None:
    refused = [name for name in installed() if name not in SUPPORTED_METRICS]
    assert refused
    for name in refused:
        [(key, why)] = config_problems(name, {}, None)
        assert (key, why.startswith(f"'evidently:{name}' gives no number here")) == ("metric", True)
        for params in LIKELY:
            assert not any(math.isfinite(value) for value in numbers(name, params)), (name, params)


def numbers(name: str, params: Mapping[str, Any]) -> Iterator[float]:
    """What the metric gives when it is made so: none where it cannot be computed, else each of its first numbers."""
    from monitors.windows import evidently_adapter

    try:
        yield evidently_adapter.value_on_synthetic_rows(name, params, None, DIGITS)
    except MetricsError as error:
        parts = str(error).partition(" gives ")[2].partition("; choose one")
        for part in parts[0].split(", ")[:2] if parts[1] else []:
            with suppress(MetricsError):
                yield evidently_adapter.value_on_synthetic_rows(name, params, part, DIGITS)
    except (AttributeError, AssertionError, NotImplementedError):  # Evidently's own, where something is not there
        return


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("metric: 'evidently:RocAuc', above: 0.5", "'evidently:RocAuc' gives no number here"),
        ("metric: 'evidently:LogLoss', above: 0.5", "no probability for each class"),
        ("metric: 'evidently:ValueDrift', params: {column: confidence}, above: 0.1", "nothing to compare with"),
        ("metric: 'evidently:DriftedColumnsCount', above: 1", "'evidently:DriftedColumnsCount' gives no number"),
        ("metric: 'evidently:Acuracy', below: 0.9", "near to it: Accuracy"),
        ("metric: 'evidently:MeanValue', below: 0.9", "params: names no column; MeanValue can be of: confidence"),
        ("metric: 'evidently:MeanValue', params: {column: label}, below: 0.9", "names column 'label'; MeanValue can"),
        ("metric: 'evidently:RecallByLabel', below: 0.9", "value: is missing; RecallByLabel gives a number for each"),
        ("metric: 'evidently:Accuracy', value: '3', below: 0.9", "Accuracy gives one; leave it out"),
        (
            "metric: 'evidently:MissingValueCount', params: {column: truth}, value: sum, above: 1",
            "value: 'sum' is none of its numbers; MissingValueCount gives count and share: choose one",
        ),
    ],
)
def test_a_rule_that_would_decide_nothing_for_ever_is_refused_where_it_is_read(rule: str, said: str) -> None:
    text = f"version: 1\nmodel: digits\nrules:\n  - {{name: a, {rule}, window: 1h, min_samples: 50}}\n"
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "alerts.yaml", {})
    assert "alerts.yaml:4: rules[0]." in str(caught.value)
    assert said in str(caught.value)
