"""The doctor's checks of the rules as a whole: how many false alarms they may raise together."""

from collections.abc import Iterator

from mlplatform.context import AppContext, load_environment
from monitors.errors import RulesError
from monitors.rules.alerts_config import load_rules
from monitors.rules.shared_budgets import budget_total, budget_total_sentences


def check_budgets(context: AppContext) -> Iterator[tuple[str, str]]:
    """The sum of all budgets of false alarms, and the rules that have none."""
    try:
        rules = load_rules(context.settings.alerts_file, load_environment())
    except RulesError:
        yield "note", "not looked at: the rules cannot be read"
        return
    total = budget_total(rules.rules)
    for sentence in budget_total_sentences(total):
        yield "ok" if sentence.startswith("while") else "note", sentence
