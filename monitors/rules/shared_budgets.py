"""Shares named budgets of false alarms among the rules that name them, and adds up what all rules may use.

`budgets: {accuracy: 1 per 90d}` and `false_alarms: budget accuracy` in three rules: each gets a third, so that the
three together raise at most one false alarm in 90 days.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from monitors.rules.quantities import (
    FalseAlarmBudget,
    count_text,
    join_names,
    named_budget,
    number_text,
    parse_false_alarm_budget,
    percent_text,
)
from monitors.rules.rule import Rule

TOTAL_PERIOD: Final = timedelta(days=90)
_MAX_NAMES: Final = 8


def split_named_budgets(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """An alerts file as it was read, in which each rule that names a budget has its part of it.

    What cannot be shared, such as a name that is not there, is left for the checks of single keys to blame.
    """
    budgets, rules = document.get("budgets"), document.get("rules")
    if not isinstance(budgets, Mapping) or not isinstance(rules, list):
        return document
    names = [named_budget(rule.get("false_alarms")) if isinstance(rule, Mapping) else None for rule in rules]
    counts = Counter(name for name in names if name is not None)
    parts = {}
    for name, sharers in counts.items():
        try:
            parts[name] = split_budget(parse_false_alarm_budget(budgets.get(name)), sharers)
        except ValueError:
            continue
    split = [
        {**rule, "false_alarms": parts[name]} if name in parts else rule
        for rule, name in zip(rules, names, strict=True)
    ]
    return {**document, "rules": split}


def split_budget(budget: FalseAlarmBudget, sharers: int) -> FalseAlarmBudget:
    """The equal part of a budget that one of so many rules has."""
    if sharers == 1:
        return budget
    return replace(budget, period=budget.period * sharers, text=f"{budget.text}, shared by {sharers} rules")


@dataclass(frozen=True)
class BudgetTotal:
    """What all rules of a file may raise while all is well: false alarms in 90 days, by rule.

    `unlimited`: rules that have no budget, of which each evaluation may be wrong; by name, with that chance.
    """

    by_rule: Mapping[str, float]
    unlimited: Mapping[str, float]

    @property
    def total(self) -> float:
        """False alarms in 90 days, of all rules with a budget."""
        return sum(self.by_rule.values())


def budget_total(rules: Iterable[Rule]) -> BudgetTotal:
    """Add up the budgets of rules; a rule for a slice is a rule of its own."""
    by_rule, unlimited = dict[str, float](), dict[str, float]()
    for rule in rules:
        if rule.false_alarms is not None:
            by_rule[rule.name] = rule.false_alarms.per_second * TOTAL_PERIOD.total_seconds()
        elif not rule.metric_spec.is_exact_count:
            unlimited[rule.name] = 1 - rule.confidence
    return BudgetTotal(by_rule, unlimited)


def budget_total_sentences(total: BudgetTotal) -> list[str]:
    """The sum, and the rules outside of it, in words."""
    sentences = []
    if total.by_rule:
        parts = [f"{name} {number_text(amount, 2)}" for name, amount in total.by_rule.items()]
        noun = count_text(len(total.by_rule), "rule")
        sentences.append(
            f"while all is well, {noun} with a budget may raise {number_text(total.total)} false alarms in 90 days in "
            f"all: {join_names(parts, _MAX_NAMES)}"
        )
    if total.unlimited:
        names = [f"{name} ({percent_text(chance)})" for name, chance in total.unlimited.items()]
        sentences.append(
            f"no budget limits {join_names(names, _MAX_NAMES)}: each evaluation may be wrong with that chance; "
            "`false_alarms` would limit them"
        )
    return sentences
