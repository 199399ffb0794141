"""Budgets of false alarms that several rules share, and the sum of all budgets."""

import pytest

from monitors.errors import RulesError
from monitors.rules.alerts_config import AlertsConfig, parse_rules
from monitors.rules.shared_budgets import budget_total, budget_total_sentences

FILE = """\
version: 1
model: digits
budgets: {accuracy: 1 per 90d}
rules:
  - {name: whole, metric: accuracy_drop, above: 1 points, window: 7d, min_samples: 30, false_alarms: budget accuracy}
  - {name: flatbed, metric: accuracy_drop, above: 1 points, window: 7d, min_samples: 30, slice: {scanner: flatbed},
     false_alarms: budget accuracy}
  - {name: drum, metric: accuracy_drop, above: 1 points, window: 7d, min_samples: 30, slice: {scanner: drum},
     false_alarms: budget accuracy}
  - {name: classes, metric: class_error, above: 10 %, window: 7d, min_samples: 30, false_alarms: 2 per 30d}
  - {name: latency, metric: latency_ratio, above: 2 x, window: 1h, min_samples: 30}
  - {name: volume, metric: volume, below: 5 answers, window: 1h}
"""


def config(text: str = FILE) -> AlertsConfig:
    return parse_rules(text, "alerts.yaml", {})


def test_rules_that_name_a_budget_have_equal_parts_of_it() -> None:
    budgets = [rule.false_alarms for rule in config().rules[:3]]
    assert {budget.text for budget in budgets if budget} == {"1 per 90d, shared by 3 rules"}
    assert sum(budget.per_second for budget in budgets if budget) == pytest.approx(1 / (90 * 86_400))


def test_a_budget_that_one_rule_names_is_its_own() -> None:
    alone = FILE.replace("false_alarms: budget accuracy", "false_alarms: 1 per 90d", 2)
    budget = config(alone).rules[2].false_alarms
    assert budget is not None
    assert budget.text == "1 per 90d"


def test_the_sum_counts_a_shared_budget_once_and_names_rules_without_any() -> None:
    total = budget_total(config().rules)
    assert total.total == pytest.approx(1 + 6)
    assert total.by_rule["flatbed"] == pytest.approx(1 / 3)
    assert total.unlimited == {"latency": pytest.approx(0.01)}, "a volume is counted, so luck cannot break it"
    summed, unlimited = budget_total_sentences(total)
    assert "4 rules with a budget may raise 7 false alarms in 90 days in all" in summed
    assert "latency (1.0 %)" in unlimited


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("budget accuracy}", "budget speed}", r"alerts.yaml:5: rules\[0\].false_alarms: .*budget speed.*`budgets`"),
        ("accuracy: 1 per 90d", "accuracy: 1 in 90d", r"alerts.yaml:3: budgets.accuracy: .*1 per 90d"),
        ("accuracy: 1 per 90d", "accuracy: budget accuracy", r"alerts.yaml:3: budgets.accuracy"),
        ("budget accuracy}", "budgets accuracy}", r"rules\[0\].false_alarms: .*not a budget of false alarms"),
        ("{accuracy: 1 per 90d}", "1 per 90d", r"alerts.yaml:3: budgets"),
        ("accuracy: 1 per 90d", "Accuracy: 1 per 90d", r"alerts.yaml:3: budgets.Accuracy"),
    ],
)
def test_a_budget_that_cannot_be_shared_is_refused_with_its_place(before: str, after: str, message: str) -> None:
    with pytest.raises(RulesError, match=message):
        config(FILE.replace(before, after, 1))


def test_a_part_too_small_for_a_look_is_refused() -> None:
    drift = FILE + (
        "  - {name: drift, metric: prediction_drift, above: 20 %, window: 1d, min_samples: 500, every: 1h, "
        "false_alarms: budget accuracy}\n"
    )
    with pytest.raises(RulesError, match="shared by 4 rules"):
        config(drift.replace("every: 1h", "every: 5m"))
