"""`platform alerts`: list, explain, ack, silence, silences, unsilence, test, backtest, schema."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlplatform.cli.output import AsJson, print_table
from mlplatform.host.console import print_json, say

if TYPE_CHECKING:
    from mlplatform.context import Parts

alerts_app = typer.Typer(help="Alerts and silences.", no_args_is_help=True)
By = Annotated[str, typer.Option("--by", help="Who says so; kept in the audit log.")]


@alerts_app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also the closed ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open alerts, or all of them."""
    from mlplatform.alerting import alert_records
    from mlplatform.context import build
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings
    from mlplatform.store.short_ids import short_ids

    with build(load_settings()).database.read() as connection:
        rows = plain(alert_records.listed(connection, everything=everything))
        short = short_ids(connection, "alert", [row["id"] for row in rows])
    if as_json:
        print_json(rows)
    else:
        shown = [{**row, "id": short[row["id"]]} for row in rows]
        columns = ("id", "rule", "key", "model_version", "state", "severity", "since", "sentence")
        print_table("alerts", shown, columns, "none")


@alerts_app.command("explain")
def explain_alert(alert_id: str, as_json: AsJson = False) -> None:
    """Why an alert fired, in words and numbers, and what followed."""
    from mlplatform.context import build
    from mlplatform.operations.alert_explanation import explain
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    explanation = explain(parts, _whole(parts, alert_id))
    say(plain(explanation), explanation.text, as_json)


@alerts_app.command("ack")
def acknowledge(alert_id: str, by: By = "cli", as_json: AsJson = False) -> None:
    """Take a firing alert on: it reminds no more."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import acknowledge_alert
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    found = _whole(parts, alert_id)
    state = acknowledge_alert(parts, found, by)
    say({"id": found, "state": state}, f"alert {found} is {state}", as_json)


@alerts_app.command("silence")
def silence(
    rule: Annotated[str, typer.Argument(help="Rule name or glob, such as latency or '*'.")],
    until: Annotated[str, typer.Option("--for", help="How long: 30m, 8h, 2d.")] = "4h",
    key: Annotated[str, typer.Option(help="Only alerts of this class or group; a glob.")] = "*",
    severity: Annotated[str, typer.Option(help="Only alerts of this severity; a glob.")] = "*",
    by: By = "cli",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send no notices of matching alerts for a while; their actions still run."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import LONGEST_SILENCE, silence_alerts
    from mlplatform.settings import load_settings
    from monitors.alerts import Silence

    parts, wanted = build(load_settings()), length(until)
    if wanted > LONGEST_SILENCE:
        raise typer.BadParameter(f"{until!r} is longer than {LONGEST_SILENCE.days}d", param_hint="--for")
    end = parts.clock() + wanted
    made = silence_alerts(parts, Silence(rule, end, key, severity, comment), by)
    say(
        {"id": made, "rule": rule, "key": key, "severity": severity, "until": end.isoformat()},
        f"{rule} is silent until {end:%F %T %Z}; `platform alerts unsilence {made}` ends that",
        as_json,
    )


@alerts_app.command("silences")
def list_silences(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Silences in force, or all of them."""
    from mlplatform.alerting import alert_records
    from mlplatform.context import build
    from mlplatform.serialization import plain
    from mlplatform.settings import load_settings

    parts = build(load_settings())
    with parts.database.read() as connection:
        rows = plain(alert_records.silences_of(connection, None if everything else parts.clock()))
    if as_json:
        print_json(rows)
    else:
        print_table("silences", rows, ("id", "rule", "key", "severity", "until", "actor", "comment"), "none")


@alerts_app.command("unsilence")
def end_silence(
    silence: Annotated[str, typer.Argument(help="The silence's id, or the beginning of it.")],
    by: By = "cli",
    as_json: AsJson = False,
) -> None:
    """End a silence now: notices of its alerts go out again."""
    from mlplatform.context import build
    from mlplatform.operations import operator_actions
    from mlplatform.settings import load_settings

    ended = operator_actions.end_silence(build(load_settings()), silence, by)
    say({"id": ended, "state": "ended"}, f"silence {ended} is over", as_json)


@alerts_app.command("test")
def send_test(channel: str, as_json: AsJson = False) -> None:
    """Send a sample notice through one channel of alerts.yaml, now."""
    from mlplatform.alerting.channel_test import rehearse
    from mlplatform.context import build
    from mlplatform.settings import load_settings

    rehearse(build(load_settings()), channel)
    say({"channel": channel, "state": "sent"}, "sent", as_json)


@alerts_app.command("backtest")
def backtest_rules(
    rules: Annotated[Path | None, typer.Option("--rules", help="Rules to try; PLATFORM_ALERTS_FILE otherwise.")] = None,
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 30d, 13w.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """When rules would have fired over stored history, beside what fired in fact; changes nothing."""
    from mlplatform.cli.backtest import show
    from mlplatform.context import build
    from mlplatform.monitoring.backtest.backtest import backtest
    from mlplatform.settings import load_settings

    parts = build(load_settings(alerts_file=rules))
    show(backtest(parts, parts.rules, length(since, "--since")), as_json)


@alerts_app.command("schema")
def schema(as_json: AsJson = False) -> None:
    """The JSON Schema of alerts.yaml, for editors; always JSON."""
    from monitors.rules.alerts_config import json_schema

    del as_json
    print_json(json_schema())


def _whole(parts: "Parts", alert_id: str) -> str:
    """The id that a beginning of it stands for."""
    from mlplatform.store.short_ids import whole_id

    with parts.database.read() as connection:
        return whole_id(connection, "alert", alert_id)


def length(text: str, option: str = "--for") -> timedelta:
    """A length of time as people write it; raises typer's BadParameter."""
    from monitors.rules.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}", param_hint=option) from error
