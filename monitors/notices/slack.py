"""A notice as Slack's blocks, within the limits of Block Kit; it sends nothing.

Limits: https://docs.slack.dev/reference/block-kit/blocks, read in November 2026.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitors.notices.notice import MOST_THUMBNAILS, Thumbnail, Told, facts_of, said
from monitors.rules.formatting import cleaned

_MARK: Final[Mapping[str, str]] = {
    "firing": "🔴", "repeat": "🔁", "resolved": "✅", "escalated": "🚨", "rolled-back": "⏪",
    "recording-lost": "🕳️", "superseded": "⏹️", "promoted": "⏫", "retraining-useless": "🪫",
    "audit-contradiction": "🔏",
}  # fmt: skip
HEADER, SECTION, FIELD, FIELDS, BUTTON, URL, ALT = 150, 3000, 2000, 10, 75, 3000, 2000

Block = dict[str, Any]


def slack_payload(notice: Told) -> dict[str, Any]:
    """The body for a Slack incoming webhook, in blocks, with a plain text for phones."""
    title = f"{_MARK[notice.kind]} {cleaned(notice.title)}"
    fields = [
        _markdown(f"*{_escaped(name)}*\n{_escaped(value)}", FIELD) for name, value in facts_of(notice).items() if value
    ]
    opening = f"{_clipped(_escaped(title), HEADER)} — "
    return {
        "text": f"{opening}{_sentences(notice, SECTION - len(opening))}",
        "blocks": [
            {"type": "header", "text": _plain(title, HEADER)},
            {"type": "section", "text": _markdown(_sentences(notice, SECTION), SECTION)},
            *({"type": "section", "fields": part} for part in _parts(fields, FIELDS)),
            *_pictures(notice.thumbnails),
            *_buttons(notice.all_links),
            {"type": "context", "elements": [_markdown(_footer(notice), SECTION)]},
        ],
    }


def without_pictures(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same message for when Slack cannot fetch a picture: it refuses the whole message then."""
    kept = [block for block in body["blocks"] if not _has_picture(block)]
    return {**body, "blocks": kept}


def _sentences(notice: Told, longest: int) -> str:
    """What the notice says, as long as may be: whole sentences, and how many there are besides."""
    first, *others = said(notice, longest, lambda text: _escaped(cleaned(text))) or [""]
    rest = "".join(f"\n{each}" for each in others)
    return f"{_clipped(first, longest - len(rest))}{rest}"


def _has_picture(block: Block) -> bool:
    return any(element["type"] == "image" for element in block.get("elements", ()))


def _pictures(thumbnails: Sequence[Thumbnail]) -> list[Block]:
    """One context block of pictures that have an address, with their captions after them."""
    shown = [each for each in thumbnails if each.url and len(each.url) <= URL][:MOST_THUMBNAILS]
    if not shown:
        return []
    images = [
        {"type": "image", "image_url": each.url, "alt_text": _clipped(cleaned(each.caption), ALT)} for each in shown
    ]
    captions = " · ".join(_escaped(cleaned(each.caption)) for each in shown)
    return [{"type": "context", "elements": [*images, _markdown(f"Worst errors: {captions}", SECTION)]}]


def _buttons(links: Mapping[str, str]) -> list[Block]:
    """Buttons that open pages; they need no interactivity."""
    buttons = [
        {"type": "button", "text": _plain(name, BUTTON), "url": url, "action_id": f"open-{place}"}
        for place, (name, url) in enumerate(links.items())
        if len(url) <= URL
    ]
    return [{"type": "actions", "elements": buttons}] if buttons else []


def _footer(notice: Told) -> str:
    return f"`{notice.idempotency_key}` {notice.reminder}".rstrip()


def _parts(items: Sequence[Block], size: int) -> list[Sequence[Block]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _plain(text: str, most: int) -> Block:
    return {"type": "plain_text", "text": _clipped(text, most), "emoji": True}


def _markdown(text: str, most: int) -> Block:
    return {"type": "mrkdwn", "text": _clipped(text, most)}


def _clipped(text: str, most: int) -> str:
    """At most that long, and never ending inside an escaped character."""
    return text if len(text) <= most else re.sub(r"&[a-z]{0,4}$", "", text[: most - 1]) + "…"


def _escaped(text: str) -> str:
    """Slack's three control characters, escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
