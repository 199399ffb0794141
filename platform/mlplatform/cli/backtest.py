"""How a backtest is shown: alarms as a table, rules as lines; it computes nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlplatform.cli.output import print_table
from mlplatform.host.console import console, print_json

if TYPE_CHECKING:
    from mlplatform.monitoring.backtest.backtest import Alarm, Backtest, Summary

COLUMNS = ("rule", "key", "version", "fired_at", "ended_at", "labels_until_then", "value")
IN_FACT = ("rule", "key", "version", "fired_at", "ended_at", "value")


def show(answer: "Backtest", as_json: bool) -> None:
    """The whole answer as JSON, or what would have fired, what fired in fact, and a line per rule."""
    from mlplatform.serialization import plain

    if as_json:
        print_json(plain(answer))
        return
    metrics = {each.rule: each.metric for each in answer.rules}
    print_table("would have fired", _rows(answer.alarms, metrics), COLUMNS, "nothing")
    print_table("fired in fact (values as last seen)", _rows(answer.in_fact, metrics), IN_FACT, "nothing")
    console().print(f"{answer.model}, {answer.since:%F %H:%M} to {answer.until:%F %H:%M} UTC:", markup=False)
    for rule in answer.rules:
        console().print(line(rule), markup=False)
    for note in answer.notes:
        console().print(f"note: {note}", markup=False)


def line(rule: "Summary") -> str:
    """One rule in one line."""
    from monitors.rules.formatting import counted

    if rule.not_replayed is not None:
        return f"{rule.rule}: not replayed; {rule.not_replayed}"
    cost = "" if rule.labels is None else f", {counted(rule.labels, 'label')} read"
    return (
        f"{rule.rule}: {counted(rule.alarms, 'alarm')} ({rule.per_90_days:.1f} per 90 days), in fact "
        f"{rule.alarms_in_fact}; {counted(rule.evaluated_slots, 'slot')} evaluated{cost}"
    )


def _rows(alarms: "Sequence[Alarm]", metrics: dict[str, Any]) -> list[dict[str, object]]:
    from monitors.rules.formatting import amount

    return [
        {
            "rule": each.rule,
            "key": each.key,
            "version": each.version,
            "fired_at": f"{each.fired_at:%F %H:%M}",
            "ended_at": "" if each.ended_at is None else f"{each.ended_at:%F %H:%M} {each.ended}",
            "labels_until_then": each.labels,
            "value": amount(metrics[each.rule], each.value) if each.rule in metrics else each.value,
        }
        for each in alarms
    ]
