"""A console that prints texts from outside harmless: no escape sequence, no turned direction; it lays nothing out."""

from typing import Any

from rich.console import Console

from monitors.controls import escape_lines


class SafeConsole(Console):
    """Rich's console, for texts in which nothing may steer the terminal. It keeps line breaks."""

    def print(self, *objects: Any, **how: Any) -> None:  # noqa: ANN401 - as Rich has it
        super().print(*(escape_lines(each) if isinstance(each, str) else each for each in objects), **how)
