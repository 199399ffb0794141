"""The page of one model: what happened, how well it answers, what each rule knows, and where it is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup
from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback.outcome_counts import confusion_counts
from mlplatform.feedback.worst_errors import inputs_of_cell, newest_label_lags, worst_errors
from mlplatform.monitoring.sampling_plan import recent_reviews
from mlplatform.operations.review_progress import review_group_text
from mlplatform.predictions.input_views import load_rows
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_queue import Retraining
from mlplatform.web import model_charts, model_series, quality_charts
from mlplatform.web.charts.gauge import gauge
from mlplatform.web.charts.line_chart import Event
from mlplatform.web.column_charts import column_chart
from mlplatform.web.model_health import HEALTH_TEXTS, judge_health
from mlplatform.web.overview import HISTORY_LENGTH, REFRESH_SECONDS, load_state
from mlplatform.web.rendering import render_page
from mlplatform.web.rule_forecasts import RuleForecasts
from mlplatform.web.time_ranges import TIME_RANGES, time_range
from monitors.errors import RulesError
from monitors.rules.quantities import approximate_duration_text, percent_text
from monitors.statistics.review_sampling import reviews_by_group, settled_shares

MAX_FINDINGS: Final = 6
"""Findings of one rule that are shown, the most advanced ones."""
MAX_RETRAININGS: Final = 50
MAX_LAGS: Final = 500
MAX_INPUTS: Final = 60
MAX_CELLS: Final = 30
"""Columns of a row that are shown in a listing, the first ones."""
WORST: Final = 12
ESTIMATING_SOURCES: Final = ("audit", "delayed", "review")
_STATE_ORDER: Final = ("breach", "suspect", "ok", "insufficient", "no-data")


@dataclass(frozen=True)
class Evidence:
    """What one rule knows about one class or about all: a gauge, full where it is proved."""

    rule: str
    key: str
    state: str
    sentence: str
    gauge: Markup
    needed: str
    finds: str


@dataclass(frozen=True)
class ReviewedGroup:
    """How many answers of one group were drawn for review, long enough ago, and which share of them is labelled.

    `beside_most`: the share beside the group that is labelled most, where they differ by more than luck; else empty.
    """

    name: str
    drawn: int
    labelled: str
    beside_most: str
    is_skipped: bool


@dataclass(frozen=True)
class Happening:
    """One line of what happened, with the page below the root that says more; empty where there is none."""

    at: datetime
    kind: str
    text: str
    address: str = ""


def model_page(context: AppContext, name: str, range_name: str, forecasts: RuleForecasts) -> str:
    """The page; raises NotFoundError for an unknown model, InvalidInputError for an unknown range."""
    now, period = context.clock(), time_range(range_name)
    finds = _detection_texts(context, name, forecasts)
    with context.database.read() as connection:
        history = _known_history(connection, context, name)
        state = load_state(connection, context, name, history[0] if history else None)
        start, versions = period.start(now), model_series.serving_versions(history, period.start(now))
        series = model_series.load_series(connection, name, versions, period, now)
        champion = versions[0] if versions else 0
        baselines = evaluations.load_baselines(connection, name, champion)
        alerts = model_charts.alert_periods(connection, name, start)
        retrainings = retraining_queue.recent(connection, MAX_RETRAININGS, name)
        confusion = confusion_counts(connection, name, versions, period.minutes(now), period.span)
        lags = newest_label_lags(connection, name, champion, start, now, MAX_LAGS)
        worst = worst_errors(connection, context.contracts, name, champion, None, start, now, ESTIMATING_SOURCES, WORST)
        judged = evaluations.latest_per_rule(connection, name)
        reviews = recent_reviews(connection, name, now)
        columns = column_chart(connection, context.contracts, name, champion, period, now) if champion else None
    answers, labels = sum(counted.answers for counted in series.counts), sum(confusion.values())
    events = [*model_charts.promotion_events(history, start), *_retraining_events(retrainings, start)]
    spans = model_charts.alert_spans(alerts, now)
    levels = model_charts.accuracy_levels(context, name, baselines.get("accuracy", {}).get(""))
    classes, matrix = quality_charts.confusion_rows(confusion)
    health = judge_health(state)
    return render_page(
        "model.html",
        path=f"/models/{name}",
        title=name,
        refresh_seconds=REFRESH_SECONDS,
        name=name,
        period=period,
        ranges=TIME_RANGES,
        health=health,
        state_text=HEALTH_TEXTS[health.state],
        champion=state.champion,
        accuracy=model_charts.accuracy_chart(series, period, now, levels, spans, events),
        happenings=_happenings(history, retrainings, alerts, start),
        evidence=[line for evaluation in judged for line in _evidence(evaluation, finds)],
        coverage=f"{labels:,} of {answers:,} answers ({percent_text(labels / answers)})" if answers else "no answers",
        lag=_lag_text(lags),
        reviews=_reviewed_groups(reviews),
        latency=quality_charts.latency_chart(series, period, now, baselines.get("latency", {})),
        volume=quality_charts.volume_chart(series, period, now),
        columns=columns,
        error_map=quality_charts.error_map(series, period, now),
        classes=classes,
        matrix=matrix,
        worst=worst,
        most_cells=MAX_CELLS,
        version=champion,
    )


def inputs_page(context: AppContext, name: str, truth: str, answer: str, range_name: str) -> str:
    """The inputs of one cell of the confusion matrix, the champion's newest; raises as `model_page` does."""
    now, period = context.clock(), time_range(range_name)
    with context.database.read() as connection:
        history = _known_history(connection, context, name)
        version = history[0].to_version if history else 0
        inputs = inputs_of_cell(connection, name, version, (truth, answer), period.start(now), now, MAX_INPUTS)
        rows = load_rows(connection, context.contracts, [found.prediction_id for found in inputs])
    return render_page(
        "inputs.html",
        path=f"/models/{name}/inputs",
        title=f"{truth} answered as {answer}",
        name=name,
        truth=truth,
        answer=answer,
        period=period,
        version=version,
        inputs=inputs,
        rows=rows,
        most=MAX_INPUTS,
        most_cells=MAX_CELLS,
    )


def _known_history(connection: Connection, context: AppContext, name: str) -> list[Promotion]:
    history = promotion_history.promotion_history(connection, name, limit=HISTORY_LENGTH)
    if not history and name != context.model_name:
        known = ", ".join(promotion_history.promoted_models(connection)) or "none"
        raise NotFoundError(f"model {name[:100]!r} is not known; there are: {known}")
    return history


def _detection_texts(context: AppContext, name: str, forecasts: RuleForecasts) -> Mapping[str, str]:
    """What each rule about labels can find, by its name; none where they cannot be known, or are not known yet."""
    try:
        return forecasts.current().finds if context.rules.model == name else {}
    except RulesError:
        return {}


def _evidence(evaluation: evaluations.Evaluation, finds: Mapping[str, str]) -> list[Evidence]:
    """The most advanced findings of an evaluation."""
    findings = sorted(evaluation.findings, key=lambda found: (_STATE_ORDER.index(found["state"]), -fullness(found)))
    return [
        Evidence(
            rule=evaluation.rule,
            key=finding["key"],
            state=finding["state"],
            sentence=finding["sentence"],
            gauge=gauge(fullness(finding), gauge_text(finding), finding["state"]),
            needed=f"{finding['needed']:,} more" if finding["needed"] else "",
            finds=finds.get(evaluation.rule, "") if place == 0 else "",
        )
        for place, finding in enumerate(findings[:MAX_FINDINGS])
    ]


def fullness(finding: Mapping[str, Any]) -> float:
    """How much of a proof there is: a detector's evidence, or the part of what the rule allows that is proved."""
    if finding["state"] == "breach":
        return 1.0
    if finding.get("evidence") is not None:
        return float(finding["evidence"])
    low, threshold = finding["low"], finding["threshold"]
    return min(1.0, max(0.0, low / threshold)) if low is not None and threshold > 0 else 0.0


def gauge_text(finding: Mapping[str, Any]) -> str:
    """What its gauge says, in words."""
    if finding["state"] == "breach":
        return "proved"
    if finding.get("evidence") is not None:
        return f"evidence: {fullness(finding):.0%} of an alarm"
    return f"proved: {fullness(finding):.0%} of what the rule allows"


def _retraining_events(retrainings: Sequence[Retraining], since: datetime) -> list[Event]:
    return [
        Event(f"retraining: {row.state} ({row.reason})", row.requested_at, "retraining", "R")
        for row in reversed(retrainings)
        if row.requested_at >= since
    ]


def _happenings(
    history: Sequence[Promotion],
    retrainings: Sequence[Retraining],
    alerts: Sequence[model_charts.AlertPeriod],
    since: datetime,
) -> list[Happening]:
    """Everything since then, newest first."""
    lines = [
        Happening(
            promotion.at,
            "rollback" if promotion.kind == "rollback" else "promotion",
            f"version {promotion.to_version} serves, by {promotion.actor}: {promotion.reason}",
        )
        for promotion in history
    ]
    lines += [
        Happening(alert.opened_at, f"{alert.severity} alert", alert.name, f"alerts/{alert.id}") for alert in alerts
    ]
    for row in retrainings:
        candidate = f", candidate version {row.candidate_version}" if row.candidate_version else ""
        promoted = ", promoted" if row.promoted else ""
        text = f"{row.state}{candidate}{promoted}: {row.reason}"
        lines.append(Happening(row.requested_at, "retraining", text, f"retrainings/{row.id}"))
    return sorted((line for line in lines if line.at >= since), key=lambda line: line.at, reverse=True)


def _reviewed_groups(reviews: Mapping[str, tuple[int, int]]) -> list[ReviewedGroup]:
    """The groups of drawn answers, with which of them reviewers skip."""
    unlike = settled_shares(reviews)
    return [
        ReviewedGroup(
            review_group_text(group),
            drawn,
            percent_text(labelled / drawn),
            percent_text(unlike[group]) if group in unlike else "",
            unlike.get(group, 1.0) < 1,
        )
        for group, (drawn, labelled) in reviews_by_group(reviews).items()
        if drawn
    ]


def _lag_text(lags: Sequence[float]) -> str:
    if not lags:
        return "no labels"
    middle, late = lags[len(lags) // 2], lags[min(len(lags) - 1, int(0.9 * len(lags)))]
    return f"half within {approximate_duration_text(middle)}, 9 of 10 within {approximate_duration_text(late)}"
