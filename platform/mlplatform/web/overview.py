"""The first page: one card for each model, the gravest first, and what waits for a person."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from markupsafe import Markup
from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.auth.caller import ANONYMOUS, Caller
from mlplatform.context import AppContext
from mlplatform.operations.queries import probation_standing
from mlplatform.promotion import approvals, probations, promotion_history
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.retraining import retraining_queue
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import ALIVE_PERIOD, WATCHER
from mlplatform.store.short_ids import abbreviate_ids
from mlplatform.web import model_charts, model_series
from mlplatform.web.charts.sparkline import sparkline
from mlplatform.web.model_health import (
    HEALTH_ORDER,
    HEALTH_TEXTS,
    ModelHealth,
    ModelState,
    OpenAlert,
    alert_order,
    judge_health,
)
from mlplatform.web.rendering import render_page
from mlplatform.web.time_ranges import DEFAULT_RANGE, TimeRange, time_range
from monitors.rules.quantities import milliseconds_text, percent_text

MAX_MODELS: Final = 50
MAX_ALERTS: Final = 200
HISTORY_LENGTH: Final = 50
REFRESH_SECONDS: Final = 30


@dataclass(frozen=True)
class Tile:
    """One figure of a card, with how it went."""

    name: str
    value: str
    note: str
    picture: Markup


@dataclass(frozen=True)
class ModelCard:
    """What the overview shows of a model."""

    name: str
    health: ModelHealth
    champion: Promotion | None
    alerts: list[OpenAlert]
    tiles: list[Tile]
    accuracy: Markup


def overview_page(context: AppContext, caller: Caller = ANONYMOUS) -> str:
    """The page with the models that the caller may see; each costs the same dozen queries, whatever its traffic."""
    now, period = context.clock(), time_range(DEFAULT_RANGE)
    with context.database.read() as connection:
        names = dict.fromkeys([context.model_name, *promotion_history.promoted_models(connection)])
        seen = [name for name in names if caller.may_see(name)][:MAX_MODELS]
        cards = [load_card(connection, context, name, period, now) for name in seen]
    cards.sort(key=lambda card: HEALTH_ORDER.index(card.health.state))
    return render_page(
        "overview.html",
        path="/",
        title="Overview",
        section="Overview",
        refresh_seconds=REFRESH_SECONDS,
        cards=cards,
        period=period,
        state_texts=HEALTH_TEXTS,
        now=now,
    )


def load_card(connection: Connection, context: AppContext, name: str, period: TimeRange, now: datetime) -> ModelCard:
    """Read all that the card of a model shows."""
    history = promotion_history.promotion_history(connection, name, limit=HISTORY_LENGTH)
    state = load_state(connection, context, name, history[0] if history else None)
    start = period.start(now)
    versions = model_series.serving_versions(history, start)
    series = model_series.load_series(connection, name, versions, period, now)
    baselines = evaluations.load_baselines(connection, name, history[0].to_version) if history else {}
    levels = model_charts.accuracy_levels(context, name, baselines.get("accuracy", {}).get(""))
    chart = model_charts.accuracy_chart(
        series,
        period,
        now,
        levels,
        model_charts.alert_spans(model_charts.alert_periods(connection, name, start), now),
        model_charts.promotion_events(history, start),
    )
    alerts = sorted(state.alerts, key=alert_order)
    return ModelCard(name, judge_health(state), state.champion, alerts, _tiles(series, now), chart)


def load_state(connection: Connection, context: AppContext, name: str, champion: Promotion | None) -> ModelState:
    """Read what a model's health is judged by."""
    now = context.clock()
    newest = next(iter(probations.list_probations(connection, name, limit=1)), None)
    heartbeats = leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD)
    open_tasks = tasks.open_tasks(connection, name)
    on_probation = newest is not None and newest.state in ("running", "failed")
    return ModelState(
        champion=champion,
        alerts=[
            OpenAlert(row.id, row.rule, row.key, row.state, row.severity, row.sentence)
            for row in alert_records.list_alerts(connection, model_name=name, limit=MAX_ALERTS)
        ],
        retrainings=retraining_queue.recent(connection, 5, name),
        tasks=[task for task in open_tasks if task.kind != "tune-serving"],
        short_ids=abbreviate_ids(connection, "task", [task.id for task in open_tasks]),
        undelivered=outbox.list_undelivered(connection, name),
        probation=f"{newest.version} is {probation_standing(newest)}" if newest is not None and on_probation else "",
        approval=approvals.find_waiting(connection, name),
        is_watched=any(beat.component == WATCHER and beat.is_about(name) for beat in heartbeats),
        rules=len(evaluations.latest_per_rule(connection, name)),
        is_served_here=name == context.model_name,
    )


def _tiles(series: model_series.ModelSeries, now: datetime) -> list[Tile]:
    """The figures of the last day, each with how it went over the range."""
    day = series.since(now - timedelta(days=1))
    overall, p95 = day.overall, model_series.latency_quantile(day.overall_latency, 0.95)
    volume, latency = series.volume, series.latency(0.95)
    accuracy = [estimate.value for estimate in series.accuracy]
    limits = "no labels" if overall is None else f"{percent_text(overall.low)} to {percent_text(overall.high)}"
    answers = sum(amount for _, amount in day.volume)
    return [
        Tile(
            "Accuracy",
            "–" if overall is None else percent_text(overall.value),
            limits,
            sparkline(accuracy, f"accuracy, {len(accuracy)} stretches of time"),
        ),
        Tile(
            "Predictions",
            f"{answers:,}",
            f"{answers / 24:,.0f} an hour",
            sparkline([amount for _, amount in volume], f"predictions, {len(volume)} stretches of time", "series-3"),
        ),
        Tile(
            "Latency",
            "–" if p95 is None else milliseconds_text(p95),
            "95th percentile",
            sparkline([value for _, value in latency], f"latency, {len(latency)} stretches of time", "series-2"),
        ),
    ]
