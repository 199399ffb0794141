"""Makes a model's charts from its series and its events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup
from sqlalchemy import Connection, select

from mlplatform.context import AppContext
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.store.tables.alerting import alerts
from mlplatform.web.charts.line_chart import Event, Level, LineChart, Point, Series, Span, line_chart
from mlplatform.web.charts.scales import TimeScale
from mlplatform.web.model_series import ModelSeries
from mlplatform.web.time_ranges import TimeRange
from monitors.errors import RulesError
from monitors.rules.quantities import count_text, percent_text

MAX_ALERTS: Final = 100
SOURCE_TEXTS: Final = {
    "audit": "from labels of answers drawn at random",
    "delayed": "from delayed labels",
    "": "no labels that estimate",
}


@dataclass(frozen=True)
class AlertPeriod:
    """When an alert was open: from its opening to its end, or until now."""

    id: str
    rule: str
    key: str
    severity: str
    opened_at: datetime
    ended_at: datetime | None

    @property
    def name(self) -> str:
        return f"{self.rule} {self.key}".strip()


def alert_periods(connection: Connection, model: str, since: datetime) -> list[AlertPeriod]:
    """The newest fired alerts of a model that were opened since then, or are open, newest first."""
    is_open = alerts.c.state.in_(("firing", "acknowledged"))
    query = (
        select(alerts)
        .where(alerts.c.model_name == model, alerts.c.fired_at.is_not(None), is_open | (alerts.c.opened_at >= since))
        .order_by(alerts.c.id.desc())
        .limit(MAX_ALERTS)
    )
    return [
        AlertPeriod(
            row.id,
            row.rule,
            row.key,
            row.severity,
            row.opened_at,
            None if row.state in ("firing", "acknowledged") else row.since,
        )
        for row in connection.execute(query)
    ]


def accuracy_levels(context: AppContext, model: str, golden: dict[str, int] | None) -> list[Level]:
    """The accuracy on the golden set, and what the rule on its drop allows, where its rules can be read here."""
    if not golden or not golden.get("total"):
        return []
    level = golden["correct"] / golden["total"]
    levels = [Level("golden set", level, "golden")]
    try:
        rules = context.rules.rules if context.rules.model == model else ()
    except RulesError:
        rules = ()
    drops = [rule.threshold for rule in rules if rule.metric == "accuracy_drop" and not rule.slice_text and not rule.by]
    return [*levels, Level("allowed", level - min(drops), "threshold")] if drops else levels


def accuracy_chart(
    series: ModelSeries,
    period: TimeRange,
    now: datetime,
    levels: Sequence[Level],
    spans: Sequence[Span] = (),
    events: Sequence[Event] = (),
) -> Markup:
    """Accuracy over the range with its band, levels, alerts and what happened."""
    points = [
        Point(estimate.at, estimate.value, estimate.low, estimate.high, count_text(estimate.n, "label"))
        for estimate in series.accuracy
    ]
    return line_chart(
        LineChart(
            title="Accuracy",
            scale=TimeScale(period.start(now), now),
            series=[Series("estimate, 95 % band", points, gap_seconds=3 * 60 * period.bucket)] if points else [],
            text=percent_text,
            levels=levels,
            spans=spans,
            events=events,
            least=0.0,
            most=1.0,
            note=SOURCE_TEXTS[series.source],
        )
    )


def alert_spans(periods: Sequence[AlertPeriod], now: datetime) -> list[Span]:
    """The alerts as stretches of time."""
    return [
        Span(f"{period.severity} alert: {period.name}", period.opened_at, period.ended_at or now, period.severity)
        for period in reversed(periods)
    ]


def promotion_events(history: Sequence[Promotion], since: datetime, address: str = "") -> list[Event]:
    """The changes of champion since then, oldest first."""
    return [
        Event(
            f"{'rollback' if promotion.kind == 'rollback' else 'promotion'}: version {promotion.to_version} serves "
            f"({promotion.reason})",
            promotion.at,
            "rollback" if promotion.kind == "rollback" else "promotion",
            f"v{promotion.to_version}",
            address,
        )
        for promotion in reversed(history)
        if promotion.at >= since
    ]
