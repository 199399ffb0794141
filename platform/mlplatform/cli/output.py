"""Prints tables and progress bars for people."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlplatform.host.console import SafeConsole, console
from mlplatform.host.control_characters import escape_controls

if TYPE_CHECKING:
    from rich.console import Console

ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:")
UNBROKEN_COLUMNS = ("id", "short_id", "run_id", "version", "seq", "number", "state")
"""Columns that are never broken within a word."""
MAX_WORD_WIDTH, MIN_SENTENCE_WIDTH = 16, 24
"""What a column needs at most for a word that may be broken, and what one of sentences needs at least."""


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Rows under the chosen columns, or a sentence when there are none; ids and times stand in one line each.

    Where the columns would become too narrow to read, each row is a paragraph of named values instead.
    """
    if not rows:
        console().print(escape_controls(f"{title}: {empty}"), markup=False)
        return
    where = console()
    cells = [[_format_cell(row.get(column)) for column in columns] for row in rows]
    whole = [column in UNBROKEN_COLUMNS or any(_parse_time(row.get(column)) for row in rows) for column in columns]
    names = [column.replace("_", " ") for column in columns]
    needed = [_minimum_width(name, [row[at] for row in cells], whole[at]) for at, name in enumerate(names)]
    if sum(needed) + 3 * len(columns) + 1 > where.width:
        _print_paragraphs(where, title, names, cells)
    else:
        _print_columns(where, title, zip(names, whole, strict=True), cells)


def _minimum_width(name: str, cells: Sequence[str], whole: bool) -> int:
    """The width below which a column cannot be read."""
    longest = max(map(len, cells))
    if whole:
        return max(longest, *map(len, name.split()))
    words = [len(word) for text in (name, *cells) for word in text.split()]
    return max(min(longest, MIN_SENTENCE_WIDTH), min(max(words), MAX_WORD_WIDTH))


def _print_columns(
    where: "Console", title: str, columns: Iterable[tuple[str, bool]], cells: Sequence[Sequence[str]]
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(escape_controls(title)), title_justify="left")
    for name, whole in columns:
        table.add_column(name, overflow="fold", no_wrap=whole)
    for row in cells:
        table.add_row(*map(Text, row))
    where.print(table)


def _print_paragraphs(where: "Console", title: str, names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """A row's first value, and its others indented below; those that are empty are left out."""
    from rich.padding import Padding
    from rich.text import Text

    where.print(escape_controls(title), markup=False)
    for row in cells:
        lines = [f"{name}: {cell}" for name, cell in zip(names, row, strict=True) if cell]
        for position, line in enumerate(lines):
            indented = Padding(Text(line, overflow="fold"), (0, 0, 0, 4 if position else 2), expand=False)
            where.print(indented, soft_wrap=False)


def _format_cell(value: object) -> str:
    """A value as people read it: moments to the minute, which fits a line."""
    moment = _parse_time(value)
    if moment is not None:
        return f"{moment:%Y-%m-%d %H:%M}"
    if isinstance(value, Mapping):
        cells = ((escape_controls(str(name)), _format_cell(item)) for name, item in value.items())
        return ", ".join(f"{name} {cell}" for name, cell in cells if cell)
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_cell, value))
    return "" if value is None else escape_controls(str(value))


def _parse_time(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not ISO_TIME.match(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


class ProgressBar:
    """A progress bar on stderr where that is a terminal, or nothing.

    Until it is told how far its work is, it shows that there is some and how long it has taken.
    """

    def __init__(self, title: str, *, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        where = SafeConsole(stderr=True)
        self._progress = Progress(*columns, console=where, disable=quiet or not where.is_terminal, transient=True)
        self._task = self._progress.add_task(title, total=None, note="")

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, total=total, note=escape_controls(note))

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *_exit: Any) -> None:  # noqa: ANN401 - the protocol's types
        self._progress.stop()
