"""A notice as an email, in HTML and in text, with its pictures inside; it sends nothing."""

from collections.abc import Sequence
from datetime import UTC
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Final

from monitors.notices.notice import LONGEST_TEXT, MOST_NAMED, Thumbnail, Told, facts_of, plain_text, said
from monitors.rules.formatting import cleaned

_PICTURE: Final = 'width="84" height="84" style="image-rendering:pixelated;border:1px solid #ccc"'
_BUTTON: Final = "display:inline-block;padding:6px 12px;margin:0 6px 6px 0;border:1px solid #888;border-radius:4px"


def email_message(notice: Told, sender: str, to: Sequence[str], domain: str) -> EmailMessage:
    """The email: one thread per alert, one Message-ID per notice. `domain` ends the ids and is nobody's address."""
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(to)
    message["Subject"] = f"[{notice.severity}] {cleaned(notice.title)}"
    message["Date"] = format_datetime(notice.at.astimezone(UTC))
    message["Message-ID"] = f"<{notice.idempotency_key}@{domain}>"
    if notice.threads:
        message["References"] = " ".join(f"<{each}@{domain}>" for each in notice.threads[:MOST_NAMED])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{cleaned(notice.title)}\n\n{plain_text(notice)}\n")
    message.add_alternative(_html(notice, domain), subtype="html")
    html = message.get_body(("html",))
    if html is not None:
        for each in notice.thumbnails:
            name = f"{each.prediction_id}.png"
            html.add_related(
                each.png, "image", "png", cid=f"<{_cid(each, domain)}>", filename=name, disposition="inline"
            )
    return message


def _cid(thumbnail: Thumbnail, domain: str) -> str:
    return f"{thumbnail.prediction_id}@{domain}"


def _html(notice: Told, domain: str) -> str:
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in said(notice, LONGEST_TEXT))
    rows = "".join(
        f'<tr><th align="left" scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in facts_of(notice).items()
    )
    links = "".join(
        f'<a href="{escape(url)}" style="{_BUTTON}">{escape(name)}</a>' for name, url in notice.all_links.items()
    )
    title = escape(cleaned(notice.title))
    return (
        f'<!doctype html>\n<html lang="en"><body style="font-family:sans-serif">\n<h2>{title}</h2>\n'
        f'{paragraphs}\n<table cellpadding="4">{rows}</table>\n{_pictures(notice.thumbnails, domain)}\n<p>{links}</p>\n'
        f"<p><small>{escape(notice.reminder)}</small></p>\n</body></html>\n"
    )


def _pictures(thumbnails: Sequence[Thumbnail], domain: str) -> str:
    if not thumbnails:
        return ""
    cells = "".join(
        f'<td align="center"><img src="cid:{escape(_cid(each, domain))}" alt="{caption}" {_PICTURE}><br>'
        f"<small>{caption}</small></td>"
        for each, caption in ((each, escape(cleaned(each.caption))) for each in thumbnails)
    )
    return f'<h3>Worst errors</h3><table cellpadding="4"><tr>{cells}</tr></table>'
