"""What silence means is stated once, and no rule reads labels before those that never come are there."""

from datetime import timedelta

import pytest

from monitors.errors import RulesError
from monitors.rules.alerts_config import AlertsConfig, parse_rules

RULES = """\
version: 1
model: churn
absent: {{label: {label}, after: {after}}}
rules:
  - {{name: drop, metric: accuracy_drop, above: 1 points, window: 90d, min_samples: 9, false_alarms: 1 per 90d{mature}}}
  - {{name: slow, metric: latency_ratio, above: 2 x, window: 1h, min_samples: 50}}
"""


def parsed(label: str = '"no"', after: str = "60d", mature: str = "") -> AlertsConfig:
    return parse_rules(RULES.format(label=label, after=after, mature=mature), "alerts.yaml", {})


def test_rules_wait_an_hour_longer_than_the_silence() -> None:
    config = parsed()
    assert config.absent is not None
    assert (config.absent.label, config.absent.after) == ("no", timedelta(days=60))
    drop, slow = config.rules
    assert (drop.mature, slow.mature) == (timedelta(days=60, hours=1), None)


def test_a_rule_may_wait_longer_and_not_less() -> None:
    assert parsed(mature=", mature: 70d").rules[0].mature == timedelta(days=70)
    with pytest.raises(RulesError, match=r"rule 'drop' reads delayed labels of answers 1h old.*write `mature: 1441h`"):
        parsed(mature=", mature: 1h")


@pytest.mark.parametrize(
    "metric",
    [
        "macro_f1, below: 90 %",
        "calibration_error, above: 5 %",
        "negative_log_likelihood, above: 0.3",
        "group_gap, by: region, above: 3 points",
        "'python:some.where:found', above: 0.3",
        "'evidently:Accuracy', below: 0.9",
    ],
)
def test_a_rule_that_cannot_wait_reads_no_delayed_labels(metric: str) -> None:
    extra = f"  - {{name: other, metric: {metric}, window: 90d, min_samples: 9 SOURCES}}\n"
    text = RULES.format(label='"no"', after="60d", mature="")
    name = metric.split(",")[0].strip("'")
    with pytest.raises(RulesError, match=rf"rule 'other' reads delayed.*{name} cannot wait.*`sources: \[audit\]`"):
        parse_rules(text + extra.replace(" SOURCES", ""), "alerts.yaml", {})
    audited = parse_rules(text + extra.replace(" SOURCES", ", sources: [audit]"), "alerts.yaml", {})
    assert audited.rules[2].sources == ("audit",)


@pytest.mark.parametrize(
    ("label", "after", "fault"), [("no", "60d", "absent.label"), ('"no"', "0s", "absent.after"), ('""', "1d", "label")]
)
def test_what_says_nothing_is_refused(label: str, after: str, fault: str) -> None:
    with pytest.raises(RulesError, match=fault):
        parsed(label, after)
