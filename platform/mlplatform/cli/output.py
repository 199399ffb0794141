"""How answers are printed: JSON for programs, tables for people; it computes nothing."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]


def console() -> "Console":
    """Where people read."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def say(value: object, text: str, as_json: bool) -> None:
    """The value as JSON, or a sentence."""
    if as_json:
        print_json(value)
    else:
        console().print(text, markup=False)


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Rows under the chosen columns, or a sentence when there are none."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        console().print(f"{title}: {empty}", markup=False)
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row.get(column) is None else str(row[column])) for column in columns))
    console().print(table)
