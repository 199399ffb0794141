"""`platform alerts`: list, explain, ack, silence, silences, unsilence, test, backtest, schema."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlplatform.cli.options import ByOption, JsonOption, parse_duration_option
from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.host.console import console, echo, print_json

if TYPE_CHECKING:
    from mlplatform.context import AppContext
    from mlplatform.monitoring.backtest.backtest import BacktestAlert, BacktestResult, RuleSummary

alerts_app = typer.Typer(help="Alerts and silences.", no_args_is_help=True)
WOULD_FIRE_COLUMNS = ("rule", "key", "version", "fired_at", "ended_at", "labels_until_then", "value")
FIRED_COLUMNS = ("rule", "key", "version", "fired_at", "ended_at", "value")


@alerts_app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also the closed ones.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Open alerts, or all of them."""
    from mlplatform.alerting import alert_records
    from mlplatform.context import create_context
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings
    from mlplatform.store.short_ids import abbreviate_ids

    with create_context(load_settings()).database.read() as connection:
        rows = to_jsonable(alert_records.list_alerts(connection, include_closed=everything))
        short = abbreviate_ids(connection, "alert", [row["id"] for row in rows])
    if as_json:
        print_json(rows)
    else:
        short_rows = [{**row, "id": short[row["id"]]} for row in rows]
        columns = ("id", "rule", "key", "model_version", "state", "severity", "since", "sentence")
        print_table("alerts", short_rows, columns, "none")


@alerts_app.command("explain")
def explain_alert(alert_id: str, as_json: JsonOption = False) -> None:
    """Why an alert fired, in words and numbers, and what followed."""
    from mlplatform.context import create_context
    from mlplatform.operations.alert_explanation import load_explanation
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    explanation = load_explanation(context, _resolve_alert_id(context, alert_id))
    echo(to_jsonable(explanation), explanation.text, as_json)


@alerts_app.command("ack")
def acknowledge(alert_id: str, by: ByOption = "cli", as_json: JsonOption = False) -> None:
    """Take a firing alert on: it reminds no more."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import acknowledge_alert
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    full_id = _resolve_alert_id(context, alert_id)
    state = acknowledge_alert(context, full_id, by)
    echo({"id": full_id, "state": state}, f"alert {full_id} is {state}", as_json)


@alerts_app.command("silence")
def create_silence(
    rule: Annotated[str, typer.Argument(help="Rule name or glob, such as latency or '*'.")],
    until: Annotated[str, typer.Option("--for", help="How long: 30m, 8h, 2d.")] = "4h",
    key: Annotated[str, typer.Option(help="Only alerts of this class or group; a glob.")] = "*",
    severity: Annotated[str, typer.Option(help="Only alerts of this severity; a glob.")] = "*",
    by: ByOption = "cli",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Send no notices of matching alerts for a while; their actions still run."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import MAX_SILENCE_DURATION, silence_alerts
    from mlplatform.settings import load_settings
    from monitors.alerts import Silence

    context, duration = create_context(load_settings()), parse_duration_option(until)
    if duration > MAX_SILENCE_DURATION:
        raise typer.BadParameter(f"{until!r} is longer than {MAX_SILENCE_DURATION.days}d", param_hint="--for")
    end = context.clock() + duration
    silence_id = silence_alerts(context, Silence(rule, end, key, severity, comment), by)
    echo(
        {"id": silence_id, "rule": rule, "key": key, "severity": severity, "until": end.isoformat()},
        f"{rule} is silent until {end:%F %T %Z}; `platform alerts unsilence {silence_id}` ends that",
        as_json,
    )


@alerts_app.command("silences")
def list_silences(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Silences in force, or all of them."""
    from mlplatform.alerting import alert_records
    from mlplatform.context import create_context
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    context = create_context(load_settings())
    with context.database.read() as connection:
        rows = to_jsonable(alert_records.list_silences(connection, None if everything else context.clock()))
    if as_json:
        print_json(rows)
    else:
        print_table("silences", rows, ("id", "rule", "key", "severity", "until", "actor", "comment"), "none")


@alerts_app.command("unsilence")
def end_silence(
    silence: Annotated[str, typer.Argument(help="The silence's id, or the beginning of it.")],
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """End a silence now: notices of its alerts go out again."""
    from mlplatform.context import create_context
    from mlplatform.operations import operator_actions
    from mlplatform.settings import load_settings

    ended = operator_actions.end_silence(create_context(load_settings()), silence, by)
    echo({"id": ended, "state": "ended"}, f"silence {ended} is over", as_json)


@alerts_app.command("test")
def send_test(channel: str, as_json: JsonOption = False) -> None:
    """Send a sample notice through one channel of alerts.yaml, now."""
    from mlplatform.alerting.channel_test import send_test_notice
    from mlplatform.context import create_context
    from mlplatform.settings import load_settings

    send_test_notice(create_context(load_settings()), channel)
    echo({"channel": channel, "state": "sent"}, "sent", as_json)


@alerts_app.command("backtest")
def backtest_rules(
    rules: Annotated[Path | None, typer.Option("--rules", help="Rules to try; PLATFORM_ALERTS_FILE otherwise.")] = None,
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 30d, 13w.")] = "30d",
    label_by_label: Annotated[
        bool, typer.Option("--label-by-label", help="Count also what each label as one observation would have raised.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """When rules would have fired over stored history, beside what fired in fact; changes nothing."""
    from mlplatform.context import create_context
    from mlplatform.monitoring.backtest.backtest import run_backtest
    from mlplatform.settings import load_settings

    context = create_context(load_settings(alerts_file=rules))
    period = parse_duration_option(since, "--since")
    with ProgressBar("replaying", quiet=as_json):
        result = run_backtest(context, context.rules, period, label_by_label=label_by_label)
    print_backtest(result, as_json)


@alerts_app.command("schema")
def print_schema(as_json: JsonOption = False) -> None:
    """The JSON Schema of alerts.yaml, for editors; always JSON."""
    from monitors.rules.alerts_config import json_schema

    del as_json
    print_json(json_schema())


def _resolve_alert_id(context: "AppContext", alert_id: str) -> str:
    """The id that a beginning of it stands for."""
    from mlplatform.store.short_ids import resolve_id

    with context.database.read() as connection:
        return resolve_id(connection, "alert", alert_id)


def print_backtest(result: "BacktestResult", as_json: bool) -> None:
    """The whole answer as JSON, or what would have fired, what fired in fact, and a line per rule."""
    from mlplatform.serialization import to_jsonable

    if as_json:
        print_json(to_jsonable(result))
        return
    metrics = {rule.rule: rule.metric for rule in result.rules}
    print_table("would have fired", _alarm_rows(result.alarms, metrics), WOULD_FIRE_COLUMNS, "nothing")
    print_table("fired in fact (values as last seen)", _alarm_rows(result.in_fact, metrics), FIRED_COLUMNS, "nothing")
    console().print(f"{result.model}, {result.since:%F %H:%M} to {result.until:%F %H:%M} UTC:", markup=False)
    for rule in result.rules:
        console().print(format_rule(rule), markup=False)
    for note in result.notes:
        console().print(f"note: {note}", markup=False)


def format_rule(rule: "RuleSummary") -> str:
    """One rule in one line."""
    from monitors.rules.quantities import count_text

    if rule.not_replayed is not None:
        return f"{rule.rule}: not replayed; {rule.not_replayed}"
    cost = "" if rule.labels is None else f", {count_text(rule.labels, 'label')} read"
    if rule.alarms_label_by_label is not None:
        cost += f"; label by label {count_text(rule.alarms_label_by_label, 'alarm')}"
    return (
        f"{rule.rule}: {count_text(rule.alarms, 'alarm')} ({rule.per_90_days:.1f} per 90 days), in fact "
        f"{rule.alarms_in_fact}; {count_text(rule.evaluated_slots, 'slot')} evaluated{cost}"
    )


def _alarm_rows(alarms: "Sequence[BacktestAlert]", metrics: dict[str, Any]) -> list[dict[str, object]]:
    from monitors.rules.quantities import metric_value_text

    return [
        {
            "rule": alert.rule,
            "key": alert.key,
            "version": alert.version,
            "fired_at": f"{alert.fired_at:%F %H:%M}",
            "ended_at": "" if alert.ended_at is None else f"{alert.ended_at:%F %H:%M} {alert.ended}",
            "labels_until_then": alert.labels,
            "value": metric_value_text(metrics[alert.rule], alert.value) if alert.rule in metrics else alert.value,
        }
        for alert in alarms
    ]
