"""How a backtest is shown: alarms as a table, rules as lines; it computes nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlplatform.cli.output import print_table
from mlplatform.host.console import console, print_json

if TYPE_CHECKING:
    from mlplatform.monitoring.backtest.backtest import BacktestAlert, BacktestResult, RuleSummary

WOULD_FIRE_COLUMNS = ("rule", "key", "version", "fired_at", "ended_at", "labels_until_then", "value")
FIRED_COLUMNS = ("rule", "key", "version", "fired_at", "ended_at", "value")


def print_backtest(result: "BacktestResult", as_json: bool) -> None:
    """The whole answer as JSON, or what would have fired, what fired in fact, and a line per rule."""
    from mlplatform.serialization import to_jsonable

    if as_json:
        print_json(to_jsonable(result))
        return
    metrics = {each.rule: each.metric for each in result.rules}
    print_table("would have fired", _alarm_rows(result.alarms, metrics), WOULD_FIRE_COLUMNS, "nothing")
    print_table("fired in fact (values as last seen)", _alarm_rows(result.in_fact, metrics), FIRED_COLUMNS, "nothing")
    console().print(f"{result.model}, {result.since:%F %H:%M} to {result.until:%F %H:%M} UTC:", markup=False)
    for rule in result.rules:
        console().print(format_rule(rule), markup=False)
    for note in result.notes:
        console().print(f"note: {note}", markup=False)


def format_rule(rule: "RuleSummary") -> str:
    """One rule in one line."""
    from monitors.rules.formatting import count_text

    if rule.not_replayed is not None:
        return f"{rule.rule}: not replayed; {rule.not_replayed}"
    cost = "" if rule.labels is None else f", {count_text(rule.labels, 'label')} read"
    return (
        f"{rule.rule}: {count_text(rule.alarms, 'alarm')} ({rule.per_90_days:.1f} per 90 days), in fact "
        f"{rule.alarms_in_fact}; {count_text(rule.evaluated_slots, 'slot')} evaluated{cost}"
    )


def _alarm_rows(alarms: "Sequence[BacktestAlert]", metrics: dict[str, Any]) -> list[dict[str, object]]:
    from monitors.rules.formatting import metric_value_text

    return [
        {
            "rule": each.rule,
            "key": each.key,
            "version": each.version,
            "fired_at": f"{each.fired_at:%F %H:%M}",
            "ended_at": "" if each.ended_at is None else f"{each.ended_at:%F %H:%M} {each.ended}",
            "labels_until_then": each.labels,
            "value": metric_value_text(metrics[each.rule], each.value) if each.rule in metrics else each.value,
        }
        for each in alarms
    ]
