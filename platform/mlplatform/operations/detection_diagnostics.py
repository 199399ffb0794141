"""The doctor's checks of what the rules promise: their false alarms in all, and what each of them can find."""

from collections.abc import Iterator

from mlplatform.context import AppContext, load_environment
from mlplatform.errors import StoreUnavailableError
from mlplatform.operations.detection_forecasts import load_detection_forecasts
from mlplatform.store.database import Database
from monitors.decisions.detection_power import power_sentence
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


def check_detection(context: AppContext) -> Iterator[tuple[str, str]]:
    """What each rule about labels finds, what it never finds, and what would help."""
    try:
        current, newest = Database(context.settings.store_url).revision()
        if current != newest:
            yield "note", "not looked at: the database's tables are not those of this version"
            return
        with context.database.read() as connection:
            forecasts = load_detection_forecasts(connection, context)
    except StoreUnavailableError:
        yield "note", "not looked at: the database is away"
        return
    except RulesError:
        yield "note", "not looked at: the rules cannot be read"
        return
    for forecast in forecasts:
        yield "note" if forecast.later is None else "ok", power_sentence(forecast)
    if not forecasts:
        yield "note", "nothing to say: no champion, or no rule about labels with a budget of false alarms"
