"""The page of one alert: what, how sure, since when, the worst examples, what was done, who was told, what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from markupsafe import Markup
from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations
from mlplatform.context import AppContext
from mlplatform.feedback.worst_errors import WorstError, worst_errors
from mlplatform.operations.alert_details import AlertDetails, load_alert_details
from mlplatform.operations.alert_explanation import load_explanation
from mlplatform.promotion import promotion_history
from mlplatform.web import model_charts, model_series
from mlplatform.web.charts.gauge import gauge
from mlplatform.web.charts.line_chart import Span
from mlplatform.web.model_page import ESTIMATING_SOURCES, MAX_CELLS, fullness, gauge_text
from mlplatform.web.rendering import render_page
from mlplatform.web.time_ranges import time_range
from monitors.alerts import Alert, Silence
from monitors.errors import RulesError
from monitors.rules.alerts_config import Rule

WORST: Final = 12
CHART_RANGE: Final = "7d"
REFRESH_SECONDS: Final = 30
SILENCE_DURATIONS: Final = (("1h", "1 hour"), ("4h", "4 hours"), ("1d", "1 day"), ("7d", "7 days"))
TOLD_ELSEWHERE: Final = frozenset({"Notices", "Actions", "History", "Links"})
"""Sections of the explanation that the page has in a form of its own."""


@dataclass(frozen=True)
class Link:
    """A link to another program's page."""

    name: str
    address: str


def alert_page(context: AppContext, alert_id: str, form_token: str) -> str:
    """The page, with forms to acknowledge and to silence; raises NotFoundError."""
    explanation = load_explanation(context, alert_id)
    now, rule = context.clock(), _find_rule(context, explanation.alert)
    with context.database.read() as connection:
        details = load_alert_details(connection, alert_id)
        alert = details.alert
        examples = _worst_examples(connection, context, details, rule) if rule is None or rule.reads_labels else []
        chart = _accuracy_chart(connection, context, alert) if rule is None or rule.reads_labels else None
        silences = [silence for silence in alert_records.active_silences(connection, now) if silence.covers(alert, now)]
    finding = _finding(details)
    return render_page(
        "alert.html",
        path=f"/alerts/{alert_id}",
        title=f"{alert.rule} {alert.key}".strip(),
        section="Alerts",
        refresh_seconds=REFRESH_SECONDS,
        alert=alert,
        sentence=details.sentence,
        gauge=None if finding is None else gauge(fullness(finding), gauge_text(finding), finding["state"]),
        gauge_text="" if finding is None else gauge_text(finding),
        chart=chart,
        examples=examples,
        most_cells=MAX_CELLS,
        details=details,
        action=_next_step(details, rule, silences),
        silences=silences,
        sections={name: lines for name, lines in explanation.sections.items() if name not in TOLD_ELSEWHERE},
        links=_links(explanation.sections.get("Links", ())),
        can_change=alert.is_open and alert.model == context.model_name,
        durations=SILENCE_DURATIONS,
        form_token=form_token,
    )


def _find_rule(context: AppContext, alert: Alert) -> Rule | None:
    try:
        rules = context.rules.rules if context.rules.model == alert.model else ()
    except RulesError:
        return None
    return next((rule for rule in rules if rule.name == alert.rule), None)


def _finding(details: AlertDetails) -> Mapping[str, Any] | None:
    """What the newest evaluation found for the alert's key."""
    return next((found for found in details.latest.findings if found["key"] == details.alert.key), None)


def _worst_examples(
    connection: Connection, context: AppContext, details: AlertDetails, rule: Rule | None
) -> list[WorstError]:
    """The surest errors of the window that made it fire, of the alert's class where it is about one."""
    alert, cause = details.alert, details.cause or details.latest
    sources = ESTIMATING_SOURCES if rule is None else rule.sources
    is_about_class = rule is not None and rule.metric == "class_error" and bool(alert.key)
    window = (cause.window_start, cause.window_end + timedelta(seconds=1))
    truth = alert.key if is_about_class else None
    return worst_errors(connection, context.contracts, alert.model, alert.version, truth, *window, sources, WORST)


def _accuracy_chart(connection: Connection, context: AppContext, alert: Alert) -> Markup:
    """Accuracy through the week up to now, or up to a day after the alert ended, with the alert behind it."""
    period, now = time_range(CHART_RANGE), context.clock()
    end = now if alert.is_open else min(now, alert.since + timedelta(days=1))
    history = promotion_history.promotion_history(connection, alert.model)
    start = period.start(end)
    versions = [promotion.to_version for promotion in history if promotion.at <= end][: model_series.MAX_VERSIONS]
    series = model_series.load_series(connection, alert.model, versions, period, end)
    baselines = evaluations.load_baselines(connection, alert.model, alert.version)
    levels = model_charts.accuracy_levels(context, alert.model, baselines.get("accuracy", {}).get(""))
    span = Span("this alert", alert.opened_at, end if alert.is_open else alert.since, alert.severity)
    events = [event for event in model_charts.promotion_events(history, start) if event.at <= end]
    return model_charts.accuracy_chart(series, period, end, levels, [span], events)


def _next_step(details: AlertDetails, rule: Rule | None, silences: Sequence[Silence]) -> str:
    """What the platform does next, in a sentence or two."""
    alert = details.alert
    if not alert.is_open:
        return f"Nothing: the alert is {alert.state}."
    sentences = []
    for retraining in details.retrainings[-1:]:
        step = (retraining.progress or {}).get("step")
        sentences.append(f"The retraining it asked for is {retraining.state}{f': {step}' if step else ''}.")
    if alert.state == "pending":
        sentences.append("It fires, and tells people, once it has lasted as long as the rule says.")
    elif silences:
        sentences.append("It tells nobody while it is silenced.")
    elif alert.state == "acknowledged":
        sentences.append("Somebody has taken it on: it reminds no more.")
    else:
        sentences.append("It reminds until somebody acknowledges it.")
    if rule is not None:
        sentences.append("It ends by itself when the value is clear again, or another version serves.")
    return " ".join(sentences)


def _links(lines: Sequence[str]) -> list[Link]:
    """The links of an explanation, those to web addresses."""
    pairs = (line.partition(": ") for line in lines)
    return [Link(name, address) for name, _, address in pairs if address.startswith(("http://", "https://"))]
