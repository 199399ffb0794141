"""The doctor's checks of the rules: their false alarms together, what they can find, and which labels they wait for."""

from collections.abc import Iterator

from sqlalchemy import Connection

from mlplatform.alerting import detector_state
from mlplatform.context import AppContext
from mlplatform.operations.doctor.check_requirements import needs_current_store
from mlplatform.operations.doctor.detection_forecasts import load_detection_forecasts
from mlplatform.promotion import promotion_history
from monitors.decisions.detectors.detection_power import classes_sentence, power_sentence
from monitors.decisions.detectors.label_reading import ReadPosition
from monitors.decisions.finding import MAX_LATE_SHARE
from monitors.errors import RulesError
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.rules.quantities import approximate_duration_text, percent_text
from monitors.rules.shared_budgets import budget_total, budget_total_sentences
from monitors.statistics.label_maturity import derived_maturity, uncovered_share


def check_budgets(context: AppContext) -> Iterator[tuple[str, str]]:
    """The sum of all budgets of false alarms, and the rules that have none."""
    try:
        rules = context.rules
    except RulesError:
        yield "note", "not looked at: the rules cannot be read"
        return
    total = budget_total(rules.rules)
    for sentence in budget_total_sentences(total):
        yield "ok" if sentence.startswith("while") else "note", sentence


@needs_current_store
def check_detection(context: AppContext) -> Iterator[tuple[str, str]]:
    """What each rule about labels finds, what it never finds, and what would help."""
    forecasts = load_detection_forecasts(context)
    for forecast in forecasts:
        yield "note" if forecast.later is None else "ok", power_sentence(forecast)
        if (sentence := classes_sentence(forecast)) is not None:
            yield "note", sentence
    if not forecasts:
        yield "note", "nothing to say: no champion, or no rule about labels with a budget of false alarms"


@needs_current_store
def check_label_reading(context: AppContext) -> Iterator[tuple[str, str]]:
    """From what age on answers count for each rule that reads delayed labels, and whether labels come later still."""
    rules = context.rules
    with context.database.read() as connection:
        yield from label_reading_states(connection, rules)


def label_reading_states(connection: Connection, rules: AlertsConfig) -> list[tuple[str, str]]:
    """What each rule that reads delayed labels of the champion knows of how late they come."""
    champion = promotion_history.latest_promotion(connection, rules.model)
    if champion is None:
        return [("note", "not looked at: no version has served yet")]
    found = []
    for rule in rules.rules:
        if not (rule.uses_detector and rule.metric_spec.reads_labels and "delayed" in rule.sources):
            continue
        state = detector_state.load_state(connection, champion.model_name, champion.to_version, rule.name)
        if state is not None and state.reading:
            found.append(_reading_state(rule, ReadPosition.from_json(state.cursor, state.reading)))
    return found or [("ok", "no rule has read delayed labels yet")]


def _reading_state(rule: Rule, position: ReadPosition) -> tuple[str, str]:
    """What a rule knows of how late delayed labels come."""
    lags = position.lags.get("delayed")
    if lags is None or lags.first_at is None or position.read_at is None:
        return "ok", f"{rule.name}: no delayed label has come yet"
    maturity = rule.mature if rule.mature is not None else derived_maturity(lags, position.read_at)
    if maturity is None:
        return "note", (
            f"{rule.name}: delayed labels are not read, because it is not known yet how late those of right answers "
            "come; write `mature` if you know, 0s where labels come whatever they say"
        )
    age = approximate_duration_text(maturity.total_seconds())
    late = uncovered_share(lags, maturity)
    if late is not None and late > MAX_LATE_SHARE:
        return "note", (
            f"{rule.name}: delayed labels are read when their answers are {age} old, but {percent_text(late)} of those "
            "of right answers come later, so errors may be known first; write a longer `mature`"
        )
    return "ok", f"{rule.name}: delayed labels are read when their answers are {age} old"
