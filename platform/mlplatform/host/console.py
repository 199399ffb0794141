"""Prints results for people and programs: JSON, or text in which nothing from outside can steer the terminal."""

import json
import sys
from typing import TYPE_CHECKING, Any

from mlplatform.host.control_characters import escape_parts, texts_with_controls

if TYPE_CHECKING:
    from rich.console import Console

from rich.console import Console

from mlplatform.host.control_characters import escape_lines


class SafeConsole(Console):
    """Rich's console, for texts in which nothing may steer the terminal. It keeps line breaks."""

    def print(self, *objects: Any, **how: Any) -> None:  # noqa: ANN401 - as Rich has it
        super().print(*(escape_lines(item) if isinstance(item, str) else item for item in objects), **how)


def console() -> "Console":
    """Where people read. What is printed steers no terminal, and is no markup."""
    from mlplatform.host.console import SafeConsole

    return SafeConsole(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def echo(value: object, text: str, as_json: bool) -> None:
    """The value as JSON, or a sentence. What stands in the value stays on one line of the text."""
    if as_json:
        print_json(value)
    else:
        console().print(escape_parts(text, texts_with_controls(value)), markup=False)
