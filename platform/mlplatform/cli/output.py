"""How answers are printed: JSON for programs, tables for people; it computes nothing."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitors.controls import escape_controls, escape_parts, steering_texts

if TYPE_CHECKING:
    from rich.console import Console

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:")
WHOLE = ("id", "short_id", "run_id", "version", "seq", "number", "state")
"""Columns that are never broken within a word."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]


def console() -> "Console":
    """Where people read. What is printed steers no terminal, and is no markup."""
    from mlplatform.cli.safe import SafeConsole

    return SafeConsole(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def say(value: object, text: str, as_json: bool) -> None:
    """The value as JSON, or a sentence. What stands in the value stays on one line of the text."""
    if as_json:
        print_json(value)
    else:
        console().print(escape_parts(text, steering_texts(value)), markup=False)


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Rows under the chosen columns, or a sentence when there are none; ids and times stand in one line each."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        console().print(escape_controls(f"{title}: {empty}"), markup=False)
        return
    table = Table(title=Text(escape_controls(title)), title_justify="left")
    for column in columns:
        whole = column in WHOLE or any(_moment(row.get(column)) for row in rows)
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console().print(table)


def _cell(value: object) -> str:
    """A value as people read it: moments to the minute, which fits a line."""
    moment = _moment(value)
    if moment is not None:
        return f"{moment:%Y-%m-%d %H:%M}"
    return "" if value is None else escape_controls(str(value))


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not MOMENT.match(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None
