"""The terms of probation, as people write them."""

from datetime import timedelta

import pytest

from monitors.errors import RulesError
from monitors.rules.alerts_config import AlertsConfig, parse_rules
from monitors.rules.probation_policy import Probation, parse_rollback_chance

RULES = """\
version: 1
model: digits
channels:
  team: {type: slack, url: "https://hooks.example/1"}
probation: {%s}
rules:
  - {name: accuracy, metric: accuracy_drop, above: 1 points, window: 1h, min_samples: 10}
"""
HOUR = timedelta(hours=1)
PER_90_DAYS = 1 / timedelta(days=90).total_seconds()


def terms(written: str) -> Probation:
    config: AlertsConfig = parse_rules(RULES % written, "alerts.yaml", {})
    return config.probation


def test_every_key_is_read_with_its_unit_and_all_have_a_default() -> None:
    read = terms("period: 3d, false_rollbacks: 2 per 50 promotions, latency_ratio_max: 1.5 x, notify: [team]")
    assert read == Probation.model_construct(
        period=timedelta(days=3), false_rollbacks=0.04, latency_ratio_max=1.5, notify=("team",)
    )
    assert terms("") == Probation()
    assert (Probation().period, Probation().false_rollbacks) == (timedelta(days=7), 0.01)
    assert not terms("period: 0s").period


def test_labels_and_latency_share_the_chance_of_a_false_rollback() -> None:
    read = terms("false_rollbacks: 1 per 100 promotions")
    assert read.label_level == pytest.approx(0.008)
    assert read.label_level + read.latency_level == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("false_rollbacks: 0.01", "write for example 1 per 100 promotions"),
        ("false_rollbacks: 1 per 4 promotions", "1 per 5 promotions"),
        ("false_rollbacks: 0 per 9 promotions", "1 per 5 promotions"),
        ("latency_ratio_max: 0.5 x", "at least 1 x"),
        ("latency_ratio_max: 2", "does not fit"),
        ("period: soon", "is not a duration"),
        ("notify: [nobody]", "'nobody' is not a channel; defined: team"),
        (
            "shadow: true",
            "unknown key; allowed: block, compared_per_day, early_margin, false_rollbacks, latency_ratio_max",
        ),
        ("early_margin: 5 %", "is not a margin; write for example 5 points"),
        ("early_margin: 100 points", "is not a margin"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(written: str, said: str) -> None:
    with pytest.raises(RulesError, match=said) as caught:
        terms(written)
    assert all(problem.line == 5 for problem in caught.value.problems)


def test_a_level_is_a_count_over_promotions() -> None:
    assert parse_rollback_chance(" 1  per 200  promotions ") == 0.005


def test_detectors_begin_with_the_budget_of_the_probation_and_never_with_more_than_a_tenth_of_an_alarm() -> None:
    assert Probation().initial_budget_period(HOUR, PER_90_DAYS) == timedelta(days=7)
    assert terms("period: 30d").initial_budget_period(HOUR, PER_90_DAYS) == timedelta(days=9)
    assert terms("period: 0s").initial_budget_period(HOUR, PER_90_DAYS) == HOUR
    assert Probation().initial_budget_period(HOUR, 1 / 3600) == HOUR, "a budget that small has its hour as ever"
