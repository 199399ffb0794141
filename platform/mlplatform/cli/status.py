"""`platform status` on one screen: what is grave first, the rest counted, with the command that shows all of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from mlplatform.cli.output import print_table
from mlplatform.host.console import console
from mlplatform.operations.label_status import in_words as labels_in_words
from mlplatform.operations.store_totals import in_words
from mlplatform.store.leadership import ALIVE

Row = Mapping[str, Any]
_ALERTS: Final = ("firing", "acknowledged", "pending")
_SEVERITIES: Final = ("critical", "warning", "info")
_RULES: Final = ("breach", "suspect", "insufficient", "no-data", "ok")
_RETRAININGS: Final = ("running", "queued", "failed", "cancelled", "succeeded")
MOST: Final = 3
MOST_ALERTS: Final = 6
LONG_WORD: Final = 20
"""A word that is longer is cut where a line ends within it."""


def show_all(shown: Row) -> None:
    """Everything, in tables."""
    for line in _head(shown):
        console().print(line, markup=False)
    silent = f"no sign of life for {ALIVE.total_seconds():.0f} s"
    print_table("processes", shown["processes"], ("component", "instance", "at", "details"), silent)
    print_table("monitors", shown["evaluations"], ("rule", "state", "at", "report"), "no evaluation yet")
    print_table("open alerts", shown["alerts"], ("short_id", "rule", "key", "state", "sentence"), "none")
    columns = ("short_id", "state", "reason", "candidate_version", "promoted", "error")
    print_table("retrainings", shown["retrainings"], columns, "none")
    print_table("tasks", shown["tasks"], ("short_id", "kind", "at", "details"), "none")
    notice_columns = ("idempotency_key", "channel", "state", "attempts", "last_error")
    print_table("undelivered notices", shown["undelivered"], notice_columns, "none")


def show_screen(shown: Row) -> None:
    """The same on one screen."""
    for line in screen(shown, console().width):
        console().print(line, markup=False, no_wrap=True, overflow="ignore", crop=False)


def screen(shown: Row, width: int) -> list[str]:
    """At most 40 lines, none wider than `width`; ids and times stand whole."""
    alerts = sorted(shown["alerts"], key=_gravity_of_alert)
    rules = sorted(shown["evaluations"], key=lambda row: (_place(_RULES, row["state"]), row["rule"]))
    troubled = [row for row in rules if row["state"] in ("breach", "suspect")]
    trainings = sorted(shown["retrainings"], key=lambda row: _place(_RETRAININGS, row["state"]))
    notices = sorted(shown["undelivered"], key=lambda row: row["state"] != "failed")
    processes = sorted(shown["processes"], key=lambda row: not row["details"].get("error"))
    lines = [
        *_head(shown),
        *_part("open alerts", alerts, "state", _alert, MOST_ALERTS, "platform alerts list"),
        *_part("monitors", rules, "state", _rule, MOST, "platform check", troubled),
        *_part("retrainings", trainings, "state", _retraining, MOST),
        *_part("tasks", shown["tasks"], "kind", _task, MOST),
        *_part("undelivered notices", notices, "state", _notice, MOST),
        *_part("processes", processes, "component", _process, MOST + 1),
    ]
    return [_cropped(line, width) for line in lines]


def _head(shown: Row) -> list[str]:
    champion, leader = shown["champion"] or "none", shown["leader"] or "none"
    counts = ", ".join(in_words(shown["counts"]))
    lines = [f"{shown['model']}: champion {champion} · {counts} · leader {leader}"]
    if shown["probation"] is not None:
        lines.append(f"probation: {shown['probation']['text']}")
    lines += [f"labels: {sentence}" for sentence in labels_in_words(shown["labels"])]
    return lines


def _part(
    title: str,
    rows: Sequence[Row],
    counted_by: str,
    told: Callable[[Row], str],
    most: int,
    command: str = "platform status --all",
    named: Sequence[Row] | None = None,
) -> list[str]:
    """A heading with counts, the first rows, and how to see those left out."""
    if not rows:
        return [f"{title}: none"]
    counts = ", ".join(f"{n} {name}" for name, n in Counter(str(row[counted_by]) for row in rows).items())
    lines = rows if named is None else named
    left = len(lines) - most
    more = [f"  and {left} more: {command}"] if left > 0 else []
    return [f"{title}: {counts}", *(f"  {told(row)}" for row in lines[:most]), *more]


def _alert(row: Row) -> str:
    about = f"{row['rule']} {row['key']}".rstrip()
    return f"{row['short_id']}  {_time(row['since'])}  {row['severity']} {row['state']}  {about}: {row['sentence']}"


def _rule(row: Row) -> str:
    sentence = next((each["sentence"] for each in row["findings"] if each["state"] == row["state"]), "")
    return f"{_time(row['at'])}  {row['state']}  {row['rule']}: {sentence}"


def _retraining(row: Row) -> str:
    made = f" version {row['candidate_version']}" if row["candidate_version"] else ""
    promoted = ", promoted" if row["promoted"] else ""
    why = row["error"] or row["reason"]
    state = f"{row['state']}{made}{promoted}{_step(row)}"
    return f"{row['short_id']}  {_time(row['requested_at'])}  {state}: {why}"


def _step(row: Row) -> str:
    """What one that has not ended does or waits for, and how far it is."""
    progress = row["progress"] or {}
    if row["state"] not in ("queued", "running") or "step" not in progress:
        return ""
    far = [progress[name] for name in ("labels", "needed", "epoch", "epochs") if name in progress]
    return f", {progress['step']}{' ({} of {})'.format(*far) if len(far) == 2 else ''}"


def _task(row: Row) -> str:
    pictures = row["details"].get("predictions")
    about = f" of {len(pictures)} pictures: platform audit next --task {row['short_id']}" if pictures else ""
    return f"{row['short_id']}  {_time(row['at'])}  {row['kind']}{about}"


def _notice(row: Row) -> str:
    tries = f"{row['attempts']} {'try' if row['attempts'] == 1 else 'tries'}"
    error = row["last_error"] or "not sent yet"
    return f"{_time(row['created_at'])}  {row['state']} to {row['channel']}, {tries}: {error}"


def _process(row: Row) -> str:
    details = [f"{name} {value}" for name, value in row["details"].items() if isinstance(value, str | int) and value]
    return f"{_time(row['at'])}  {row['component']} {row['instance']}  {', '.join(details)}".rstrip()


def _gravity_of_alert(row: Row) -> tuple[int, int]:
    return _place(_ALERTS, row["state"]), _place(_SEVERITIES, row["severity"])


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _time(written: str) -> str:
    return f"{datetime.fromisoformat(written):%Y-%m-%d %H:%M}"


def _cropped(line: str, width: int) -> str:
    """The line in one row: what does not fit is left out from a word on."""
    line = " ".join(line.splitlines())
    if len(line) <= width:
        return line
    start, _, _ = line[: width - 1].rpartition(" ")
    return f"{start} …" if len(start) > width - LONG_WORD else f"{line[: width - 1]}…"
