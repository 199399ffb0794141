"""The page of the rules: each as loaded, its state and what it can find, and a draft replayed over the past."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext, load_environment
from mlplatform.monitoring.backtest.backtest import BacktestAlert, BacktestResult, RuleSummary
from mlplatform.monitoring.backtest.draft_backtest import DraftOutcome
from mlplatform.web.rendering import render_page
from mlplatform.web.rule_forecasts import Forecasts
from monitors.errors import ConfigProblem, RulesError
from monitors.rules.alerts_config import AlertsConfig, Rule, load_rules
from monitors.rules.quantities import duration_text, metric_value_text

PERIODS: Final = (("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"))
WORKING_REFRESH_SECONDS: Final = 5
"""While what the rules can find is worked out."""
MAX_ALARMS: Final = 200


@dataclass(frozen=True)
class RuleRow:
    """One rule as loaded, how it stood when last evaluated, and what it can find; empty where that is not known."""

    name: str
    condition: str
    budget: str
    then: str
    severity: str
    state: str
    evaluated_at: datetime | None
    finds: str


@dataclass(frozen=True)
class AlarmRow:
    """An alert that a draft would have raised, or that there was."""

    rule: str
    version: int
    fired_at: datetime
    ended: str
    labels: str
    value: str


@dataclass(frozen=True)
class Draft:
    """What was asked of a draft, and what came of it."""

    text: str
    period: str
    outcome: DraftOutcome


def rules_page(context: AppContext, forecasts: Forecasts, form_token: str, draft: Draft | None = None) -> str:
    """The page, with the form for a draft, and a draft's outcome where one was replayed."""
    config, problems = _loaded(context)
    result = None if draft is None else draft.outcome.result
    return render_page(
        "rules.html",
        path="/rules" if draft is None else "/rules/backtest",
        title=f"Rules of {context.model_name}",
        section="Rules",
        file_name=context.settings.alerts_file.name,
        rows=[] if config is None else _rows(context, config, forecasts),
        problems=problems,
        other_model="" if config is None or config.model == context.model_name else config.model,
        served_model=context.model_name,
        is_stale=config is not None and _is_stale(context, config),
        forecasts=forecasts,
        refresh_seconds=0 if forecasts.is_ready or config is None or draft is not None else WORKING_REFRESH_SECONDS,
        periods=PERIODS,
        draft=draft,
        result=result,
        would_fire=[] if result is None else _alarms(result, result.alarms),
        in_fact=[] if result is None else _alarms(result, result.in_fact),
        summaries=[] if result is None else [(rule, _summary_text(rule)) for rule in result.rules],
        most=MAX_ALARMS,
        form_token=form_token,
    )


def _loaded(context: AppContext) -> tuple[AlertsConfig | None, Sequence[ConfigProblem]]:
    """The rules that this server has loaded, or what is wrong with their file."""
    try:
        return context.rules, ()
    except RulesError as error:
        return None, error.problems


def _is_stale(context: AppContext, config: AlertsConfig) -> bool:
    """Whether the file says something else by now than what was loaded, or cannot be read."""
    try:
        return load_rules(context.settings.alerts_file, load_environment()) != config
    except RulesError:
        return True


def _rows(context: AppContext, config: AlertsConfig, forecasts: Forecasts) -> list[RuleRow]:
    with context.database.read() as connection:
        judged = {found.rule: found for found in evaluations.latest_per_rule(connection, config.model)}
    rows = []
    for rule in config.rules:
        evaluation = judged.get(rule.name)
        rows.append(
            RuleRow(
                name=rule.name,
                condition=condition_text(rule),
                budget="" if rule.false_alarms is None else rule.false_alarms.text,
                then=_then_text(rule),
                severity=rule.severity,
                state="" if evaluation is None else evaluation.state,
                evaluated_at=None if evaluation is None else evaluation.at,
                finds=forecasts.finds.get(rule.name, ""),
            )
        )
    return rows


def condition_text(rule: Rule) -> str:
    """What a rule asks, in a line."""
    side, level = ("above", rule.above) if rule.above is not None else ("below", rule.below)
    parts = [f"{rule.metric} {side} {metric_value_text(rule.metric, level)} over {duration_text(rule.window)}"]
    if rule.column:
        parts.append(f"columns {', '.join(rule.column)}")
    if rule.by:
        parts.append(f"by {rule.by}")
    parts += [f"where {tag} is {value}" for tag, value in rule.slice.items()]
    if rule.for_:
        parts.append(f"for {duration_text(rule.for_)}")
    return ", ".join(parts)


def _then_text(rule: Rule) -> str:
    """What follows when it fires."""
    action = () if rule.action == "none" else (str(rule.action),)
    return ", ".join((*action, *(f"tell {channel}" for channel in rule.notify)))


def _alarms(result: BacktestResult, alarms: Sequence[BacktestAlert]) -> list[AlarmRow]:
    """The newest of them, newest first."""
    metrics = {rule.rule: rule.metric for rule in result.rules}
    newest = sorted(alarms, key=lambda alarm: alarm.fired_at, reverse=True)[:MAX_ALARMS]
    return [
        AlarmRow(
            rule=f"{alarm.rule} {alarm.key}".strip(),
            version=alarm.version,
            fired_at=alarm.fired_at,
            ended="" if alarm.ended_at is None else f"{alarm.ended} {alarm.ended_at:%Y-%m-%d %H:%M} UTC",
            labels="" if alarm.labels is None else f"{alarm.labels:,}",
            value=metric_value_text(metrics[alarm.rule], alarm.value) if alarm.rule in metrics else "",
        )
        for alarm in newest
    ]


def _summary_text(rule: RuleSummary) -> str:
    if rule.not_replayed is not None:
        return f"not replayed: {rule.not_replayed}"
    labels = "" if rule.labels is None else f", {rule.labels:,} labels read"
    return f"{rule.evaluated_slots:,} slots evaluated{labels}"
