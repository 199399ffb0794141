"""Escapes control characters in texts from outside, so that they cannot steer a terminal, a log or a mail.

Line breaks forge lines, escape sequences rewrite the screen, and characters that turn the direction of writing or have
no width let a text read as another.
"""

from collections.abc import Sequence
from typing import Any, Final
from unicodedata import category

_CONTROL_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls of both sets and DEL, format characters (directions, no width), halves of pairs, separators of lines."""
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_controls(text: str, keep: str = "") -> str:
    """The text with every character that steers written as `\\x1b` or `\\u202e`, but for those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in keep or category(character) not in _CONTROL_CATEGORIES
        else _escape_sequence(character)
        for character in text
    )


def escape_lines(text: str) -> str:
    """A text of several lines, which it keeps, each of them harmless."""
    return escape_controls(text, "\n\t")


def indent_further_lines(text: str) -> str:
    """A text of several lines whose further ones are indented, so that none is taken for a line of its own."""
    return escape_lines(text).replace("\n", "\n  ")


def escape_parts(text: str, parts: Sequence[str]) -> str:
    """A text of several lines in which these parts are on one line each; a part that is the whole text has lines."""
    for part in sorted(parts, key=len, reverse=True):
        if part.strip() != text.strip():
            text = text.replace(part, escape_controls(part))
    return escape_lines(text)


def texts_with_controls(value: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """The texts anywhere in a value that hold characters which steer."""
    match value:
        case str():
            return [value] if escape_controls(value) != value else []
        case dict():
            return [text for pair in value.items() for item in pair for text in texts_with_controls(item)]
        case list() | tuple():
            return [text for item in value for text in texts_with_controls(item)]
        case _:
            return []


def _escape_sequence(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
