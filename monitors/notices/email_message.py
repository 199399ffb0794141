"""A notice as an email, in HTML and in text, with its images inside."""

import re
from collections.abc import Sequence
from datetime import UTC
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Final

from monitors.notices.notice import (
    MAX_NAMED,
    MAX_TEXT_LENGTH,
    NoticeView,
    Thumbnail,
    clean_facts,
    notice_sentences,
    plain_text_body,
)
from monitors.rules.quantities import single_line

_IMAGE_STYLE: Final = 'width="84" height="84" style="image-rendering:pixelated;border:1px solid #ccc"'
_BUTTON_STYLE: Final = (
    "display:inline-block;padding:6px 12px;margin:0 6px 6px 0;border:1px solid #888;border-radius:4px"
)


def email_message(notice: NoticeView, sender: str, to: Sequence[str], domain: str) -> EmailMessage:
    """The email: one thread per alert, one Message-ID per notice. `domain` ends the ids and is nobody's address."""
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(to)
    message["Subject"] = f"[{notice.severity}] {single_line(notice.title)}"
    message["Date"] = format_datetime(notice.at.astimezone(UTC))
    message["Message-ID"] = f"<{notice.idempotency_key}@{domain}>"
    if notice.threads:
        message["References"] = " ".join(f"<{thumbnail}@{domain}>" for thumbnail in notice.threads[:MAX_NAMED])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{single_line(notice.title)}\n\n{plain_text_body(notice)}\n")
    message.add_alternative(_html(notice, domain), subtype="html")
    html = message.get_body(("html",))
    if html is not None:
        if notice.trend is not None and notice.trend.png:
            content_id = f"<{_trend_id(notice, domain)}>"
            html.add_related(
                notice.trend.png, "image", "png", cid=content_id, filename="trend.png", disposition="inline"
            )
        for thumbnail in notice.thumbnails:
            if thumbnail.png is None:
                continue
            name, content_id = f"{thumbnail.prediction_id}.png", _content_id(thumbnail, domain)
            html.add_related(
                thumbnail.png,
                "image",
                "png",
                cid=f"<{content_id}>",
                filename=name,
                disposition="inline",
            )
    return message


def _content_id(thumbnail: Thumbnail, domain: str) -> str:
    return f"{thumbnail.prediction_id}@{domain}"


def _trend_id(notice: NoticeView, domain: str) -> str:
    return f"trend-{notice.idempotency_key}@{domain}"


def _html(notice: NoticeView, domain: str) -> str:
    paragraphs = "".join(f"<p>{_inline(sentence)}</p>" for sentence in notice_sentences(notice, MAX_TEXT_LENGTH))
    rows = "".join(
        f'<tr><th align="left" scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in clean_facts(notice).items()
    )
    links = "".join(
        f'<a href="{escape(url)}" style="{_BUTTON_STYLE}">{escape(name)}</a>' for name, url in notice.all_links.items()
    )
    errors = _images_html(notice.thumbnails, domain) + _rows_html(notice.thumbnails)
    title = escape(single_line(notice.title))
    return (
        f'<!doctype html>\n<html lang="en"><body style="font-family:sans-serif">\n<h2>{title}</h2>\n'
        f"<p><strong>{_inline(single_line(notice.instruction))}</strong></p>\n"
        f"{paragraphs}\n{_trend_html(notice, domain)}<table "
        f'cellpadding="4">{rows}</table>\n{errors}\n<p>{links}</p>\n'
        f"<p><small>{escape(notice.reminder)}</small></p>\n</body></html>\n"
    )


def _inline(text: str) -> str:
    """A sentence as HTML, what stands between backquotes as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _trend_html(notice: NoticeView, domain: str) -> str:
    """The picture of the trend, whose caption is its text as well; without one its line of block characters."""
    trend = notice.trend
    if trend is None:
        return ""
    caption = escape(trend.caption)
    if not trend.png:
        return f"<p>{escape(trend.text)}</p>\n"
    return (
        f'<p><img src="cid:{escape(_trend_id(notice, domain))}" alt="{caption}" width="480" height="80"><br>'
        f"<small>{caption}</small></p>\n"
    )


def _images_html(thumbnails: Sequence[Thumbnail], domain: str) -> str:
    pictures = [one for one in thumbnails if one.png is not None]
    if not pictures:
        return ""
    images = ((escape(_content_id(one, domain)), escape(single_line(one.caption))) for one in pictures)
    cells = "".join(
        f'<td align="center"><img src="cid:{content_id}" alt="{caption}" {_IMAGE_STYLE}><br>'
        f"<small>{caption}</small></td>"
        for content_id, caption in images
    )
    return f'<h3>Worst errors</h3><table cellpadding="4"><tr>{cells}</tr></table>'


def _rows_html(thumbnails: Sequence[Thumbnail]) -> str:
    items = "".join(f"<li>{escape(one.text)}</li>" for one in thumbnails if one.png is None)
    return f"<h3>Worst errors</h3><ul>{items}</ul>" if items else ""
