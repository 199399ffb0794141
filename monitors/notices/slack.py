"""A notice as Slack's blocks, within the limits of Block Kit.

Limits: https://docs.slack.dev/reference/block-kit/blocks, read in November 2026.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitors.notices.notice import MAX_THUMBNAILS, NoticeView, Thumbnail, clean_facts, notice_sentences
from monitors.notices.trend import Trend
from monitors.rules.quantities import single_line

_EMOJI: Final[Mapping[str, str]] = {
    "firing": "🔴", "repeat": "🔁", "resolved": "✅", "escalated": "🚨", "rolled-back": "⏪",
    "recording-lost": "🕳️", "superseded": "⏹️", "promoted": "⏫", "retraining-useless": "🪫",
    "audit-contradiction": "🔏", "approval-requested": "✋", "approval-rejected": "🚫", "approval-expired": "⌛",
}  # fmt: skip
(
    MAX_HEADER_LENGTH,
    MAX_SECTION_LENGTH,
    MAX_FIELD_LENGTH,
    MAX_FIELDS,
    MAX_BUTTON_LENGTH,
    MAX_URL_LENGTH,
    MAX_ALT_LENGTH,
) = 150, 3000, 2000, 10, 75, 3000, 2000

Block = dict[str, Any]


def slack_payload(notice: NoticeView) -> dict[str, Any]:
    """The body for a Slack incoming webhook, in blocks, with a plain text for phones."""
    title = f"{_EMOJI[notice.kind]} {single_line(notice.title)}"
    fields = [
        _markdown(f"*{_escape(name)}*\n{_escape(value)}", MAX_FIELD_LENGTH)
        for name, value in clean_facts(notice).items()
        if value
    ]
    instruction = _escape(single_line(notice.instruction))
    opening = f"{_truncate(_escape(title), MAX_HEADER_LENGTH)} — {instruction}\n"
    return {
        "text": f"{opening}{_sentences(notice, MAX_SECTION_LENGTH - len(opening))}",
        "blocks": [
            {"type": "header", "text": _plain_text(title, MAX_HEADER_LENGTH)},
            {"type": "section", "text": _markdown(f"*{instruction}*", MAX_SECTION_LENGTH)},
            {"type": "section", "text": _markdown(_sentences(notice, MAX_SECTION_LENGTH), MAX_SECTION_LENGTH)},
            *_trend_blocks(notice.trend),
            *({"type": "section", "fields": part} for part in _chunks(fields, MAX_FIELDS)),
            *_image_blocks(notice.thumbnails),
            *_row_blocks(notice.thumbnails),
            *_buttons(notice.all_links),
            {"type": "context", "elements": [_markdown(_footer(notice), MAX_SECTION_LENGTH)]},
        ],
    }


def without_images(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same message for when Slack cannot fetch a picture: it refuses the whole message then."""
    blocks = [block for block in body["blocks"] if not _has_image(block)]
    return {**body, "blocks": blocks}


def _sentences(notice: NoticeView, longest: int) -> str:
    """What the notice says, as long as may be: whole sentences, and how many there are besides."""
    first, *others = notice_sentences(notice, longest, lambda text: _escape(single_line(text))) or [""]
    rest = "".join(f"\n{sentence}" for sentence in others)
    return f"{_truncate(first, longest - len(rest))}{rest}"


def _has_image(block: Block) -> bool:
    return any(element["type"] == "image" for element in block.get("elements", ()))


def _trend_blocks(trend: Trend | None) -> list[Block]:
    """The line of block characters, of one width each, and its caption: a webhook cannot bring a picture along."""
    if trend is None:
        return []
    text = f"`{trend.blocks}`\n{_escape(trend.caption)}"
    return [{"type": "section", "text": _markdown(text, MAX_SECTION_LENGTH)}]


def _image_blocks(thumbnails: Sequence[Thumbnail]) -> list[Block]:
    """One context block of pictures that have an address, with their captions after them."""
    linked = [thumbnail for thumbnail in thumbnails if thumbnail.url and len(thumbnail.url) <= MAX_URL_LENGTH][
        :MAX_THUMBNAILS
    ]
    if not linked:
        return []
    images = [
        {
            "type": "image",
            "image_url": thumbnail.url,
            "alt_text": _truncate(single_line(thumbnail.caption), MAX_ALT_LENGTH),
        }
        for thumbnail in linked
    ]
    captions = " · ".join(_escape(single_line(thumbnail.caption)) for thumbnail in linked)
    return [{"type": "context", "elements": [*images, _markdown(f"Worst errors: {captions}", MAX_SECTION_LENGTH)]}]


def _row_blocks(thumbnails: Sequence[Thumbnail]) -> list[Block]:
    """One context block of the rows that were misread, one on a line."""
    lines = [_escape(thumbnail.text) for thumbnail in thumbnails if thumbnail.cells]
    text = "\n".join(["Worst errors:", *lines])
    return [{"type": "context", "elements": [_markdown(text, MAX_SECTION_LENGTH)]}] if lines else []


def _buttons(links: Mapping[str, str]) -> list[Block]:
    """Buttons that open pages; they need no interactivity."""
    buttons = [
        {"type": "button", "text": _plain_text(name, MAX_BUTTON_LENGTH), "url": url, "action_id": f"open-{place}"}
        for place, (name, url) in enumerate(links.items())
        if len(url) <= MAX_URL_LENGTH
    ]
    return [{"type": "actions", "elements": buttons}] if buttons else []


def _footer(notice: NoticeView) -> str:
    return f"`{notice.idempotency_key}` {notice.reminder}".rstrip()


def _chunks(items: Sequence[Block], size: int) -> list[Sequence[Block]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _plain_text(text: str, most: int) -> Block:
    return {"type": "plain_text", "text": _truncate(text, most), "emoji": True}


def _markdown(text: str, most: int) -> Block:
    return {"type": "mrkdwn", "text": _truncate(text, most)}


def _truncate(text: str, most: int) -> str:
    """At most that long, and never ending inside an escaped character."""
    return text if len(text) <= most else re.sub(r"&[a-z]{0,4}$", "", text[: most - 1]) + "…"


def _escape(text: str) -> str:
    """Slack's three control characters, escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
