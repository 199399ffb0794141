"""Takes pictures of every kind of notice, as mail and in Slack: `python -m tests.support.notice_pictures FOLDER`.

The mail is the one that is sent, its pictures inside; Slack's blocks are drawn in a plain likeness. Needs a Chromium in
the PATH.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageChops

from mlplatform.alerting.channels.channel import AnyNotice
from mlplatform.alerting.trend_picture import draw_trend
from monitors.notices.approval_notice import ApprovalNotice
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice
from monitors.notices.email_message import email_message
from monitors.notices.lost_predictions_notice import RecordingLossNotice
from monitors.notices.notice import Notice, Subject, Thumbnail, idempotency_key
from monitors.notices.promotion_notice import PromotionNotice
from monitors.notices.rollback_notice import RollbackNotice
from monitors.notices.slack import slack_payload
from monitors.notices.superseded_notice import SupersededNotice
from monitors.notices.trend import trend_of
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.grey_png import encode_png
from tests.support.monitor_examples import NOON, rule
from tests.support.notice_examples import THE_RULE, fired

SCREEN: Final = (1240, 1200)
MARGIN: Final = 16
BACKGROUND: Final = "#f3f4f6"
STYLE: Final = (
    "body{margin:0;display:grid;grid-template-columns:1fr 1fr;gap:16px;padding:16px;align-items:start;"
    "font:15px/1.45 sans-serif;background:#f3f4f6}"
    "section{background:#fff;border:1px solid #d0d4da;border-radius:8px;padding:14px 18px;overflow:hidden}"
    "h1{font-size:13px;color:#555;margin:0 0 8px;text-transform:uppercase}"
    ".b{display:inline-block;border:1px solid #bbb;border-radius:4px;padding:4px 10px;margin:2px 6px 2px 0}"
    ".f{display:grid;grid-template-columns:1fr 1fr;gap:6px 14px}code{background:#f3f4f6}"
)
BASE: Final = "https://ml.example.org"
LINKS: Final = {"Acknowledge": f"{BASE}/alerts/a1", "Report": f"{BASE}/v1/evaluations/e1/report", "Dashboard": BASE}
VERSION_LINKS: Final = {"Version": f"{BASE}/versions/8", "Dashboard": BASE}
WENT: Final = (0.002, 0.001, 0.004, 0.003, 0.002, 0.006, 0.009, 0.018, 0.031, 0.044, 0.052, 0.061, 0.078, 0.08)
RULE: Final = rule(action="retrain", severity="critical", runbook="https://wiki.example.org/accuracy").model_copy(
    update={"name": "accuracy-drop"}
)
SENTENCE: Final = (
    "Accuracy is 91.0 % on 200 labelled answers of 24h, 8.0 points below 99.0 %; "
    "at least 4.0 points with 99 % confidence."
)
REASON: Final = "Better on the recent rows: 44 gained, 12 lost, +3.2 points (1.1 to 5.3)."


def example_notices() -> Mapping[str, AnyNotice]:
    """A notice of each kind, by the name of its picture."""
    alert = replace(fired(THE_RULE), rule=RULE.name)
    trend = trend_of(RULE, WENT, "")
    assert trend is not None
    firing = Notice(
        "firing",
        RULE,
        (Subject(alert, SENTENCE),),
        NOON,
        LINKS,
        idempotency_key([alert], "firing", "e1"),
        ("3 read as 5, 14 of 20 errors",),
        _thumbnails("v7"),
        trend=replace(trend, png=draw_trend(trend.values, trend.allowed)),
    )
    ended = replace(firing, kind="resolved", top_confusions=(), thumbnails=(), idempotency_key="a1-resolved-4")
    at, before, pictures = NOON, NOON - timedelta(hours=9), _thumbnails("v7: ")
    approval = ApprovalNotice(
        kind="approval-requested",
        model="digits",
        version=8,
        champion=7,
        reason="accuracy-drop",
        verdict_reasons=(REASON,),
        actor="watcher",
        comment="",
        at=at,
        expires_at=at + timedelta(days=7),
        links=VERSION_LINKS,
        idempotency_key="approval-requested-1",
        thumbnails=pictures,
    )
    facts = {"Version": "digits v8", "Serves again": "digits v7", "Right only in v7": "31", "Right only in v8": "9"}
    lost = "Labels where both differ prove version 8 worse: 31 right only in version 7, 9 only in version 8."
    return {
        "firing": firing,
        "repeat": replace(firing, kind="repeat"),
        "escalated": replace(firing, kind="escalated"),
        "resolved": replace(ended, subjects=(Subject(alert, "Accuracy is 98.9 % again on 400 labelled answers."),)),
        "superseded": SupersededNotice((alert,), "version 8 serves now", at, VERSION_LINKS, "a1-superseded"),
        "promoted": PromotionNotice("digits", 8, 7, "ada", REASON, at, VERSION_LINKS, "p-8", thumbnails=pictures),
        "rolled-back": RollbackNotice(
            "digits", 8, 7, lost, at, before, facts, VERSION_LINKS, "rolled-back-8", thumbnails=_thumbnails("v8: ")
        ),
        "approval-requested": approval,
        "approval-rejected": replace(approval, kind="approval-rejected", actor="ada", comment="not before Monday"),
        "approval-expired": replace(approval, kind="approval-expired"),
        "retraining-useless": UnsuccessfulRetrainingNotice(
            "digits", "01a22a4a", "keep", ("No better on the recent rows: 20 gained, 19 lost.",),
            "It learnt from 880 of 1,240 labels.", 3, 3, at, {"Dashboard": BASE}, "retraining-useless-1", 8,
        ),
        "recording-lost": RecordingLossNotice("digits", "host:1:a", 120, 7, at, {"Dashboard": BASE}, "lost-1"),
        "audit-contradiction": AuditContradictionNotice(
            "digits", ("link 4 of chain main is gone",), at, {"Dashboard": BASE}, "audit-1"
        ),
    }  # fmt: skip


def _thumbnails(who: str) -> tuple[Thumbnail, ...]:
    """Four digits as if they had been misread."""
    pictures = load_optdigits()
    images = images_of(pictures.batch)
    wanted = [number for number, label in enumerate(pictures.labels) if int(label) == 3][:4]
    prefix = who if who.endswith(": ") else ""
    return tuple(
        Thumbnail(f"p{number}", f"{prefix}3 read as 5, {98 - place} %", encode_png(images[number]))
        for place, number in enumerate(wanted)
    )


def preview_page(notice: AnyNotice) -> str:
    """One page with the mail and Slack's message side by side."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><style>{STYLE}</style><body>'
        f"<section><h1>Mail</h1>{_mail(notice)}</section><section><h1>Slack</h1>{_slack(notice)}</section>"
    )


def _mail(notice: AnyNotice) -> str:
    message = email_message(notice, "platform@example.org", ("you@example.org",), "example.org")
    html = message.get_body(("html",))
    assert html is not None
    text: str = html.get_content()
    pictures = {
        part["Content-ID"].strip("<>"): b64encode(part.get_content()).decode()
        for part in message.walk()
        if part.get_content_type() == "image/png"
    }
    shown = re.sub(r'src="cid:([^"]+)"', lambda found: f'src="data:image/png;base64,{pictures[found[1]]}"', text)
    inner = re.sub("<!doctype html>|</?(html|body)[^>]*>", "", shown)
    return f"<p><b>Subject:</b> {escape(message['Subject'])}</p>{inner}"


def _slack(notice: AnyNotice) -> str:
    return "".join(part for block in slack_payload(notice)["blocks"] for part in _block(block))


def _block(block: dict[str, Any]) -> Iterator[str]:
    match block["type"]:
        case "header":
            yield f"<h2>{escape(block['text']['text'].partition(' ')[2])}</h2>"  # the mark before it has no font here
        case "section" if "fields" in block:
            yield f"<div class=f>{''.join(f'<div>{_markdown(field)}</div>' for field in block['fields'])}</div>"
        case "section":
            yield f"<p>{_markdown(block['text'])}</p>"
        case "context":
            texts = (_markdown(one) for one in block["elements"] if one["type"] == "mrkdwn")
            yield f"<p><small>{' '.join(texts)}</small></p>"
        case "actions":
            yield "".join(f"<span class=b>{escape(one['text']['text'])}</span>" for one in block["elements"])


def _markdown(text: Mapping[str, str]) -> str:
    """Slack's text, whose own characters are escaped already."""
    bold = re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", text["text"])
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", bold).replace("\n", "<br>")


def take_pictures(folder: Path) -> list[Path]:
    """Write a picture of each kind of notice, in few colours; returns them."""
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("no chromium is in the PATH; install it first")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory() as home:
        for name, notice in example_notices().items():
            page, path = Path(home) / f"{name}.html", folder / f"{name}.png"
            page.write_text(preview_page(notice), encoding="utf-8")
            flags = (
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--hide-scrollbars",
            )
            size = f"--window-size={SCREEN[0]},{SCREEN[1]}"
            command = [browser, *flags, f"--user-data-dir={home}/browser", size, f"--screenshot={path}", page.as_uri()]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            with Image.open(path) as picture:
                whole = picture.convert("RGB")
            filled = ImageChops.difference(whole, Image.new("RGB", whole.size, BACKGROUND)).getbbox()
            shown = whole if filled is None else whole.crop((0, 0, SCREEN[0], min(SCREEN[1], filled[3] + MARGIN)))
            few_colours = shown.quantize(128, dither=Image.Dither.NONE)
            few_colours.save(path, optimize=True)
            written.append(path)
    return written


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    for path in take_pictures(parser.parse_args().folder):
        print(path)  # noqa: T201 - what the command says


if __name__ == "__main__":
    main()
