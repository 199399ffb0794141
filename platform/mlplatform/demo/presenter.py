"""Prints the demo on a terminal: acts, progress bars, notices and the closing table."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from mlplatform.host.console import SafeConsole
from mlplatform.host.control_characters import escape_lines

ACCURACY_ROWS = (
    ("known world, version 1", "known_world_v1"),
    ("new scanner, version 1", "new_world_v1"),
    ("new scanner, version 2", "new_world_v2"),
    ("golden set, version 1", "golden_v1"),
    ("golden set, version 2", "golden_v2"),
)


class Presenter:
    """Prints the story, or nothing when quiet; keeps the seconds of each act."""

    def __init__(self, quiet: bool) -> None:
        self._console = SafeConsole(quiet=quiet, highlight=False)
        self._started_at = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def act(self, number: str, title: str) -> Iterator[None]:
        """One act, timed."""
        self._console.rule(f"[bold]{number} · {title}", align="left")
        started_at = time.monotonic()
        yield
        self.seconds[f"act {number}"] = round(time.monotonic() - started_at, 1)
        self.seconds.pop("total", None)
        self.seconds["total"] = round(time.monotonic() - self._started_at, 1)
        self.print_line(f"({self.seconds[f'act {number}']} s)")

    def print_line(self, text: str) -> None:
        """One line."""
        self._console.print(f"  {text}", markup=False)

    @contextmanager
    def progress_bar(self, title: str) -> Iterator[Callable[..., None]]:
        """A progress bar: call it with done, total and a note."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, disable=self._console.quiet) as progress:
            task = progress.add_task(title, total=None, note="")

            def at(done: int, total: int, note: str = "") -> None:
                progress.update(task, completed=done, total=total, note=note)

            yield at

    def print_notice(self, kind: str, text: str, small: str) -> None:
        """A notice as it arrived."""
        self._console.print(
            Panel(
                Text(escape_lines(text)),
                title=f"{kind} received",
                subtitle=Text(small),
                title_align="left",
                expand=False,
            )
        )

    def print_accuracy(self, figures: Mapping[str, Any]) -> None:
        """Before and after."""
        table = Table(title="accuracy", title_justify="left")
        table.add_column("world and version")
        table.add_column("share right", justify="right")
        for title, key in ACCURACY_ROWS:
            table.add_row(title, f"{figures['accuracy'][key]:.1%}")
        self._console.print(table)
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in figures["seconds"].items())
        self.print_line(f"{figures['requests']} requests, {figures['failed']} failed; {seconds}")

    def print_addresses(self, addresses: Mapping[str, str]) -> None:
        """Where to look."""
        for name, address in addresses.items():
            self.print_line(f"{name}: {address}")
