"""Renders the pages, and names the headers that each is sent with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""That of the platform's own pages."""
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
LABEL_HEIGHT: Final = 16
OUTCOMES: Final = {"accept": "accepted", "review": "waits for a person", "refuse": "refused"}


def shown_time(text: str) -> str:
    """A kept time to the second."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def digit_marks(reading: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A box for each digit, with the digit and how sure it is, and a level for its colour.

    Where narrow digits leave no room side by side, every second label stands a line higher.
    """
    marks = []
    for place, (box, digit) in enumerate(zip(reading["digits"], reading["text"], strict=False)):
        sure = reading["characters"][place] if place < len(reading["characters"]) else reading["confidence"]
        level = "high" if sure >= 0.95 else "middle" if sure >= 0.8 else "low"
        label_y = reading["frame"][1] - 8 - LABEL_HEIGHT * (place % 2)
        marks.append({"box": box, "digit": digit, "sure": sure, "level": level, "label_y": label_y})
    return marks


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cheques.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"time": shown_time}
    environment.globals |= {"outcomes": OUTCOMES}
    return environment


_TEMPLATES: Final = _environment()


def render(template: str, title: str, **values: object) -> str:
    """The HTML of a page."""
    return _TEMPLATES.get_template(template).render(title=title, **values)
