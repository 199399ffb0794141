"""Forecasts for each rule about labels what it can find at the present rate of labels and size of the golden set."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.monitoring.rule_inputs import load_baseline, load_counts
from mlplatform.promotion import promotion_history
from monitors.decisions.detectors.detection_power import DetectionPower, detection_power
from monitors.rules.alerts_config import Rule
from monitors.windows.window_counts import SourceWindow

RATE_PERIOD: Final = timedelta(days=14)
"""How far back labels are counted for the present rate, as far as the champion has served."""
_MIN_PERIOD: Final = timedelta(days=1)


def load_detection_forecasts(context: AppContext) -> list[DetectionPower]:
    """What each rule about labels can find of the champion; none before the first champion.

    The simulations are kept by what they rest on, so asking again costs a count of labels for each rule; none runs
    while a connection is held. Raises RulesError where the rules cannot be read.
    """
    rules, now = context.rules, context.clock()
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, rules.model)
        if champion is None:
            return []
        classes = context.contracts.classes_of(connection, champion.model_name, champion.to_version)
        baseline = load_baseline(connection, champion)
        rates = [
            (rule, labels_per_day(connection, context, rule, champion, now))
            for rule in rules.rules
            if rule.uses_detector and rule.reads_labels
        ]
    forecasts = (detection_power(rule, baseline, rate, classes) for rule, rate in rates)
    return [forecast for forecast in forecasts if forecast is not None]


def labels_per_day(
    connection: Connection, context: AppContext, rule: Rule, champion: promotion_history.Promotion, now: datetime
) -> float:
    """How many labels a day the rule may estimate by, of answers of the last 14 days or since the champion serves."""
    period = min(RATE_PERIOD, max(_MIN_PERIOD, now - champion.at))
    windows = {str(source): SourceWindow(now - period, now) for source in rule.sources}
    classes = context.contracts.classes_of(connection, champion.model_name, champion.to_version)
    counts = load_counts(connection, classes, _over(rule, period), champion, now, windows)
    return sum(cell.n for cell in counts.labels_from(rule.sources)) / (period / timedelta(days=1))


def _over(rule: Rule, window: timedelta) -> Rule:
    return rule.model_copy(update={"window": window})
