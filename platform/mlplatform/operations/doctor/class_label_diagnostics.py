"""The doctor's check of rules on classes: whether labels come often enough for that many classes."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from mlplatform.context import AppContext
from mlplatform.feedback import outcome_counts
from mlplatform.operations.doctor.check_requirements import needs_current_store
from mlplatform.promotion import promotion_history
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.rules.quantities import number_text

LABEL_PERIOD: Final = timedelta(days=28)
"""Over so long a time, or since the champion serves, labels are counted."""
USEFUL_PERIOD_DAYS: Final = 90
MIN_LABELS_PER_CLASS: Final = 30
"""With so many labels of a class in 90 days a rule finds it within weeks if half of its answers are wrong."""


@needs_current_store
def check_class_labels(context: AppContext) -> Iterator[tuple[str, str]]:
    """For each rule on the errors of classes, whether it is useful at the present rate of labels."""
    config = context.rules
    rates = _label_rates(context, config)
    if rates is None:
        yield "note", "not looked at: no champion has served for a day"
        return
    with context.database.read() as connection:
        classes = context.contracts.label_rules(connection, config.model).counted_names
    for rule, per_day in rates:
        yield class_label_finding(rule.name, per_day, len(classes))
    if not rates:
        yield "ok", "no rule is about the errors of classes"


def class_label_finding(rule: str, per_day: float, classes: int) -> tuple[str, str]:
    """Whether a rule on so many classes is useful at so many labels a day, and what would make it so."""
    per_class = per_day * USEFUL_PERIOD_DAYS / classes
    rate = (
        f"rule {rule}: {number_text(per_day)} labels a day give each of {classes:,} classes {number_text(per_class)} "
        "in 90 days"
    )
    if per_class >= MIN_LABELS_PER_CLASS:
        return "ok", rate
    enough = math.ceil(MIN_LABELS_PER_CLASS * classes / USEFUL_PERIOD_DAYS)
    most = math.floor(per_day * USEFUL_PERIOD_DAYS / MIN_LABELS_PER_CLASS)
    limit = f"up to {most:,} classes at this rate" if most else "for no class at this rate"
    return "note", (
        f"{rate}; below {MIN_LABELS_PER_CLASS} it finds little within weeks. It is useful {limit}, or from {enough:,} "
        "labels a day; a rule on class_volume needs no labels"
    )


def _label_rates(context: AppContext, config: AlertsConfig) -> list[tuple[Rule, float]] | None:
    """The rules on classes with how many labels a day each reads; None before the champion has served for a day."""
    name, now = config.model, context.clock()
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        if champion is None or now - champion.at < timedelta(days=1):
            return None
        start = max(champion.at, now - LABEL_PERIOD)
        cells = outcome_counts.window_label_counts(connection, name, champion.to_version, start, now)
    days = (now - start) / timedelta(days=1)
    return [
        (rule, sum(cell.n for cell in cells if cell.source in rule.sources and cell.weight > 0) / days)
        for rule in config.rules
        if rule.metric == "class_error"
    ]
