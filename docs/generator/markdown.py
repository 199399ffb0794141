"""Markdown pieces: pages, tables, anchors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

NOTE: Final = "<!-- Written by docs/generate.py from the code; `make docs` writes it anew. Do not edit. -->"


def page(title: str, lead: str, *parts: str) -> str:
    """A page with its title, an opening paragraph, and whatever parts are not empty."""
    return "\n\n".join([NOTE, f"# {title}", lead, *(part for part in parts if part)]).rstrip() + "\n"


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; empty text where there are no rows."""
    if not rows:
        return ""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code; nothing where it is empty."""
    return f"`{text}`" if text else ""


def choices(values: list[str]) -> str:
    """Allowed values, each as code."""
    return ", ".join(f"`{value}`" for value in values)


def first_line(text: str | None) -> str:
    """The first paragraph of a docstring."""
    return (text or "").strip().partition("\n\n")[0]


def anchor(heading: str) -> str:
    """The fragment under which GitHub and the site's generator find a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")
