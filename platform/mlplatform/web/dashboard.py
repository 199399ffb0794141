"""Two pages for people: the platform at a glance, and one alert explained; they show what the commands print."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from mlplatform.context import AppContext
from mlplatform.operations import queries
from mlplatform.operations.alert_explanation import load_explanation
from mlplatform.operations.store_totals import format_totals
from mlplatform.serialization import to_jsonable

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; frame-ancestors 'none'"
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c2430;"
    "overflow-wrap:anywhere}"
    "table{border-collapse:collapse;width:100%;margin:0 0 2rem}th,td{text-align:left;padding:.4rem .6rem;"
    "border-bottom:1px solid #d8dee6;vertical-align:top}th{color:#5a6675;font-weight:600}h2{margin:1.5rem 0 .5rem}"
    ".firing,.breach,.failed{color:#b3261e;font-weight:600}.ok,.succeeded,.resolved{color:#1a7f37}"
    "button{font:inherit;padding:.5rem 1rem;border:0;border-radius:.4rem;background:#1f5fbf;color:#fff;cursor:pointer}"
    "th,td{overflow-wrap:break-word}@media(max-width:48rem){table,tbody,tr,td{display:block}tr:first-child,td:empty"
    "{display:none}tr{padding:.4rem 0;border-bottom:1px solid #d8dee6}td{padding:0;border:0}"
    "td::before{content:attr(data-name) ': ';color:#5a6675}}"
)
"""On a telephone a row of a table is a paragraph: each value under its name, those that are empty left out."""
_OVERVIEW_TABLES = (
    ("Open alerts", "alerts", ("rule", "key", "state", "severity", "sentence", "opened_at"), "none"),
    ("Rules", "evaluations", ("rule", "state", "at"), "not evaluated yet"),
    ("Retrainings", "retrainings", ("state", "reason", "requested_at", "candidate_version", "promoted"), "none yet"),
    ("Tasks for people", "tasks", ("kind", "at", "id"), "none"),
    ("Undelivered notices", "undelivered", ("channel", "state", "last_error"), "none"),
)


def overview_page(context: AppContext) -> str:
    """The dashboard: champion and its probation, alerts, rules, retrainings, tasks, notices that wait."""
    shown = to_jsonable(queries.platform_status(context))
    counts = ", ".join(format_totals(shown["counts"]))
    champion = "no champion yet" if shown["champion"] is None else f"version {shown['champion']} serves"
    body = [f"<h1>{escape(shown['model'])}: {champion}</h1><p>{escape(counts)}. <a href='docs'>API</a></p>"]
    if shown["probation"] is not None:
        body.append(f"<p>Probation: {escape(shown['probation']['text'])}</p>")
    for title, name, columns, empty in _OVERVIEW_TABLES:
        body.append(f"<h2>{title}</h2>{_table(shown[name], columns, empty)}")
    return _page(f"{shown['model']} · mlplatform", "".join(body))


def alert_page(context: AppContext, alert_id: str) -> str:
    """One alert explained, with a button to take it on while it fires; raises NotFoundError."""
    explained = load_explanation(context, alert_id)
    sections = "".join(
        f"<h2>{escape(name)}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
        for name, lines in explained.sections.items()
    )
    button = ""
    if explained.alert.state == "firing":
        action = f"{escape(alert_id, quote=True)}/acknowledge"
        button = f"<form method='post' action='{action}'><button>Acknowledge</button></form>"
    heading = f"{escape(explained.heading)}<br>alert {escape(explained.alert.id)}"
    return _page(
        f"{explained.alert.rule} · mlplatform", f"<p><a href='../'>all</a></p><h1>{heading}</h1>{button}{sections}"
    )


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> str:
    if not rows:
        return f"<p>{empty}</p>"
    head = "".join(f"<th>{column.replace('_', ' ')}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(row, column) for column in columns)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    text = "" if value is None else escape(str(value))
    if text and column.endswith("at"):
        text = f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M} UTC"
    name = f"data-name='{column.replace('_', ' ')}'"
    if column == "rule" and "opened_at" in row:
        return f"<td {name}><a href='alerts/{escape(str(row['id']), quote=True)}'>{text}</a></td>"
    return f"<td {name} class='{text}'>{text}</td>" if column == "state" else f"<td {name}>{text}</td>"


def _page(title: str, body: str) -> str:
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{escape(title)}</title>"
    return f"<!doctype html><html lang='en'><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>"
