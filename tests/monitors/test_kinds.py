from dataclasses import replace

import pytest

from monitors.detect import DECISIONS
from monitors.kinds import KINDS, kind_of
from monitors.quantities import parse_threshold


def test_every_kind_of_metric_is_decided_and_its_example_is_a_threshold() -> None:
    assert set(DECISIONS) == set(KINDS)
    for metric, kind in KINDS.items():
        written = kind.example.split('"')[1]
        assert parse_threshold(written, metric) > 0


def test_a_metric_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(ValueError, match="allowed: accuracy_drop, class_error"):
        kind_of("accuracy")


def test_an_early_warning_may_start_nothing() -> None:
    kind = kind_of("accuracy_drop")
    assert kind.allowed_actions == ("retrain", "none")
    assert replace(kind, early=True).allowed_actions == ("none",)
