"""`platform status` and `platform check`: the state of the platform, and its rules evaluated now.

The status fits one screen: what is grave first, the rest counted, with the command that shows all of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import typer

from mlplatform.cli.exit_codes import EXIT_BREACH
from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.context import create_context
from mlplatform.errors import NotFoundError
from mlplatform.host.console import console, print_json
from mlplatform.operations.label_status import status_sentences
from mlplatform.operations.queries import platform_status
from mlplatform.operations.store_totals import format_totals
from mlplatform.operations.views import PlatformStatus
from mlplatform.serialization import to_jsonable
from mlplatform.settings import load_settings
from mlplatform.store.leadership import ALIVE_PERIOD

StatusRow = Mapping[str, Any]
_ALERT_STATE_ORDER: Final = ("firing", "acknowledged", "pending")
_SEVERITY_ORDER: Final = ("critical", "warning", "info")
_RULE_STATE_ORDER: Final = ("breach", "suspect", "insufficient", "no-data", "ok")
_RETRAINING_STATE_ORDER: Final = ("running", "queued", "failed", "cancelled", "succeeded")
MAX_ROWS: Final = 3
MAX_ALERT_ROWS: Final = 6
MAX_WORD_LENGTH: Final = 20
"""A word that is longer is cut where a line ends within it."""


def print_status(everything: bool, as_json: bool) -> None:
    """`platform status`."""
    status = platform_status(create_context(load_settings()))
    if as_json:
        print_json(to_jsonable(status))
    elif everything:
        print_all(status)
    else:
        print_screen(status)


def evaluate_rules(as_json: bool) -> None:
    """`platform check`."""
    from mlplatform.monitoring.evaluate import evaluate
    from mlplatform.monitoring.evaluation_report import write_report

    context = create_context(load_settings())
    rules, rows = context.rules.rules, []
    with ProgressBar("evaluating", quiet=as_json) as bar:
        results = []
        for done, rule in enumerate(rules):
            bar.update(done, len(rules), rule.name)
            results.append((rule, evaluate(context, rule, context.clock())))
        rows = [to_jsonable(write_report(context, rule, result)) for rule, result in results if result is not None]
    if not rows:
        raise NotFoundError("there is no champion to check; `platform train` makes the first one")
    if as_json:
        print_json(rows)
    else:
        findings = [
            {"rule": row["rule"], **finding, "report": row["report"]} for row in rows for finding in row["findings"]
        ]
        print_table("check", findings, ("rule", "key", "state", "sentence", "report"), "no findings")
    raise typer.Exit(EXIT_BREACH if any(row["state"] == "breach" for row in rows) else 0)


def print_all(status: PlatformStatus) -> None:
    """Everything, in tables."""
    view = to_jsonable(status)
    for line in _header_lines(status):
        console().print(line, markup=False)
    silent = f"no sign of life for {ALIVE_PERIOD.total_seconds():.0f} s"
    print_table("processes", view["processes"], ("component", "instance", "at", "details"), silent)
    print_table("monitors", view["evaluations"], ("rule", "state", "at", "report"), "no evaluation yet")
    print_table("open alerts", view["alerts"], ("short_id", "rule", "key", "state", "sentence"), "none")
    columns = ("short_id", "state", "reason", "candidate_version", "promoted", "error")
    print_table("retrainings", view["retrainings"], columns, "none")
    print_table("tasks", view["tasks"], ("short_id", "kind", "at", "details"), "none")
    notice_columns = ("idempotency_key", "channel", "state", "attempts", "last_error")
    print_table("undelivered notices", view["undelivered"], notice_columns, "none")


def print_screen(status: PlatformStatus) -> None:
    """The same on one screen."""
    for line in screen_lines(status, console().width):
        console().print(line, markup=False, no_wrap=True, overflow="ignore", crop=False)


def screen_lines(status: PlatformStatus, width: int) -> list[str]:
    """At most 40 lines, none wider than `width`; ids and times stand whole."""
    view = to_jsonable(status)
    alerts = sorted(view["alerts"], key=_alert_sort_key)
    rules = sorted(view["evaluations"], key=lambda row: (_position(_RULE_STATE_ORDER, row["state"]), row["rule"]))
    troubled = [row for row in rules if row["state"] in ("breach", "suspect")]
    trainings = sorted(view["retrainings"], key=lambda row: _position(_RETRAINING_STATE_ORDER, row["state"]))
    notices = sorted(view["undelivered"], key=lambda row: row["state"] != "failed")
    processes = sorted(view["processes"], key=lambda row: not row["details"].get("error"))
    lines = [
        *_header_lines(status),
        *_section_lines("open alerts", alerts, "state", _format_alert, MAX_ALERT_ROWS, "platform alerts list"),
        *_section_lines("monitors", rules, "state", _format_rule, MAX_ROWS, "platform check", troubled),
        *_section_lines("retrainings", trainings, "state", _format_retraining, MAX_ROWS),
        *_section_lines("tasks", view["tasks"], "kind", _format_task, MAX_ROWS),
        *_section_lines("undelivered notices", notices, "state", _format_notice, MAX_ROWS),
        *_section_lines("processes", processes, "component", _format_process, MAX_ROWS + 1),
    ]
    return [_crop(line, width) for line in lines]


def _header_lines(status: PlatformStatus) -> list[str]:
    counts = ", ".join(format_totals(status.counts))
    lines = [f"{status.model}: champion {status.champion or 'none'} · {counts} · leader {status.leader or 'none'}"]
    if status.probation is not None:
        lines.append(f"probation: {status.probation.text}")
    lines += [f"labels: {sentence}" for sentence in status_sentences(status.labels)]
    return lines


def _section_lines(
    title: str,
    rows: Sequence[StatusRow],
    counted_by: str,
    format_row: Callable[[StatusRow], str],
    limit: int,
    command: str = "platform status --all",
    named: Sequence[StatusRow] | None = None,
) -> list[str]:
    """A heading with counts, the first rows, and how to see those left out."""
    if not rows:
        return [f"{title}: none"]
    counts = ", ".join(f"{n} {name}" for name, n in Counter(str(row[counted_by]) for row in rows).items())
    lines = rows if named is None else named
    left = len(lines) - limit
    more = [f"  and {left} more: {command}"] if left > 0 else []
    return [f"{title}: {counts}", *(f"  {format_row(row)}" for row in lines[:limit]), *more]


def _format_alert(row: StatusRow) -> str:
    about = f"{row['rule']} {row['key']}".rstrip()
    return (
        f"{row['short_id']}  {_format_time(row['since'])}  {row['severity']} {row['state']}  {about}: {row['sentence']}"
    )


def _format_rule(row: StatusRow) -> str:
    sentence = next((finding["sentence"] for finding in row["findings"] if finding["state"] == row["state"]), "")
    return f"{_format_time(row['at'])}  {row['state']}  {row['rule']}: {sentence}"


def _format_retraining(row: StatusRow) -> str:
    candidate = f" version {row['candidate_version']}" if row["candidate_version"] else ""
    promoted = ", promoted" if row["promoted"] else ""
    why = row["error"] or row["reason"]
    state = f"{row['state']}{candidate}{promoted}{_format_step(row)}"
    return f"{row['short_id']}  {_format_time(row['requested_at'])}  {state}: {why}"


def _format_step(row: StatusRow) -> str:
    """What one that has not ended does or waits for, and how far it is."""
    progress = row["progress"] or {}
    if row["state"] not in ("queued", "running") or "step" not in progress:
        return ""
    amounts = [progress[name] for name in ("labels", "needed", "epoch", "epochs") if name in progress]
    return f", {progress['step']}{' ({} of {})'.format(*amounts) if len(amounts) == 2 else ''}"


def _format_task(row: StatusRow) -> str:
    pictures = row["details"].get("predictions")
    about = f" of {len(pictures)} pictures: platform audit next --task {row['short_id']}" if pictures else ""
    return f"{row['short_id']}  {_format_time(row['at'])}  {row['kind']}{about}"


def _format_notice(row: StatusRow) -> str:
    tries = f"{row['attempts']} {'try' if row['attempts'] == 1 else 'tries'}"
    error = row["last_error"] or "not sent yet"
    return f"{_format_time(row['created_at'])}  {row['state']} to {row['channel']}, {tries}: {error}"


def _format_process(row: StatusRow) -> str:
    details = [f"{name} {value}" for name, value in row["details"].items() if isinstance(value, str | int) and value]
    return f"{_format_time(row['at'])}  {row['component']} {row['instance']}  {', '.join(details)}".rstrip()


def _alert_sort_key(row: StatusRow) -> tuple[int, int]:
    return _position(_ALERT_STATE_ORDER, row["state"]), _position(_SEVERITY_ORDER, row["severity"])


def _position(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _format_time(written: str) -> str:
    return f"{datetime.fromisoformat(written):%Y-%m-%d %H:%M}"


def _crop(line: str, width: int) -> str:
    """The line in one row: what does not fit is left out from a word on."""
    line = " ".join(line.splitlines())
    if len(line) <= width:
        return line
    start, _, _ = line[: width - 1].rpartition(" ")
    return f"{start} …" if len(start) > width - MAX_WORD_LENGTH else f"{line[: width - 1]}…"
