from dataclasses import replace
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage

from monitors.notices.email_message import email_message
from monitors.notices.notice import Notice
from monitors.notices.trend import trend_of
from tests.support.monitor_examples import NOON
from tests.support.notice_examples import THE_RULE, group, notice


def sent(given: Notice) -> EmailMessage:
    """The email after the outbox, which keeps it as text, and after the wire."""
    made = email_message(given, "platform@example.org", ("a@example.org", "b@example.org"), "platform.local")
    kept = message_from_string(made.as_string(), policy=policy.default)
    return message_from_bytes(kept.as_bytes(policy=policy.SMTP), policy=policy.default)


def body(mail: EmailMessage, kind: str) -> str:
    """The text or HTML of an email."""
    part = mail.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text


def test_the_email_survives_the_wire_with_both_bodies() -> None:
    read = sent(notice())
    assert read["Message-ID"] == "<a1-firing-1@platform.local>"
    assert read["References"] == "<a1@platform.local>"
    assert read["Subject"] == "[critical] firing: a-rule · digits v3"
    assert read["To"] == "a@example.org, b@example.org"
    assert read["Date"].datetime == NOON
    assert read.get_content_type() == "multipart/alternative"
    assert "Value: 8.0 points" in body(read, "plain")
    assert "Report: https://host/e/1?a=1&b=2" in body(read, "plain")
    assert 'href="https://host/e/1?a=1&amp;b=2"' in body(read, "html")


def test_its_pictures_travel_inside_and_need_no_public_address() -> None:
    given = notice(pictures=3)
    read = sent(replace(given, thumbnails=tuple(replace(each, url="") for each in given.thumbnails)))
    pictures = [part for part in read.walk() if part.get_content_type() == "image/png"]
    assert [part.get_content() for part in pictures] == [each.png for each in given.thumbnails]
    html = body(read, "html")
    for part in pictures:
        assert f'src="cid:{part["Content-ID"].strip("<>")}" alt="3 read as 5, 98 %"' in html
        assert part.get_content_disposition() == "inline"
    assert "https://host/i/" not in body(read, "plain")


def test_a_trend_travels_inside_as_a_picture_with_its_words() -> None:
    trend = trend_of(THE_RULE, [0.0, 0.01, 0.08], "")
    assert trend is not None
    read = sent(replace(notice(), trend=replace(trend, png=b"\x89PNG")))
    [picture] = [part for part in read.walk() if part.get_content_type() == "image/png"]
    content_id = picture["Content-ID"].strip("<>")
    assert content_id == "trend-a1-firing-1@platform.local"
    assert f'src="cid:{content_id}" alt="accuracy_drop, 3 evaluations: 0.0 points to 8.0' in body(read, "html")
    assert "▁▂█ accuracy_drop, 3 evaluations: 0.0 points to 8.0 points; allowed 0.5 points" in body(read, "plain")
    assert "cid:" not in body(sent(replace(notice(), trend=trend)), "html"), "no picture was drawn"


def test_the_first_line_says_what_to_do() -> None:
    read = sent(notice())
    title, _, first = body(read, "plain").splitlines()[:3]
    assert title == "firing: a-rule · digits v3"
    assert first.startswith("Nothing to do now: a retraining is asked for, version 3 serves on")
    assert "Where answers cannot wait: `platform models rollback`" in first
    assert "<p><strong>Nothing to do now: a retraining" in body(read, "html")


def test_an_email_about_several_alerts_belongs_to_all_their_threads() -> None:
    read = sent(group("0123456789"))
    assert read["References"] == " ".join(f"<a{key}@platform.local>" for key in "0123456789")
    assert read["Message-ID"] == "<e1-firing@platform.local>"


def test_an_email_cannot_be_forged_through_its_words() -> None:
    made = email_message(
        notice(sentence="<script>x</script>", key="7\nBcc: x@y.z"), "p@e.org", ("a@e.org",), "platform.local"
    )
    assert made["Bcc"] is None
    html = made.get_body(("html",))
    assert html is not None
    assert "<script>" not in body(made, "html")
