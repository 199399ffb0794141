import json
from dataclasses import replace
from email import message_from_bytes, policy
from itertools import count

import pytest

from monitors.alerts import Alert, Kind, step
from monitors.notify import Notice, email_message, idempotency_key, slack_payload, webhook_payload
from tests.monitors.examples import NOON, finding, rule

THE_RULE = rule(action="retrain", severity="critical", runbook="https://wiki.example/accuracy")


def fired() -> Alert:
    numbers = count(1)
    alert = step(None, finding("breach"), THE_RULE, NOON, lambda: f"a{next(numbers)}").alert
    assert alert is not None
    return alert


def notice(kind: Kind = "firing", sentence: str = "Accuracy fell.", key: str = "") -> Notice:
    alert = replace(fired(), key=key)
    links = {"Evidence": "https://host/e/1?a=1&b=2"}
    return Notice(kind, alert, THE_RULE, sentence, NOON, links, idempotency_key(alert.id, kind, alert.notices))


def test_one_notice_has_one_identity_and_two_have_two() -> None:
    assert idempotency_key("a1", "repeat", 2) == idempotency_key("a1", "repeat", 2)
    assert len({idempotency_key("a1", kind, n) for kind in ("firing", "repeat") for n in (1, 2)}) == 4


def test_slack_shows_value_interval_baseline_threshold_and_links() -> None:
    payload = slack_payload(notice())
    header, sentence, fields, context = payload["blocks"]
    assert header["text"]["text"] == "🔴 firing: a-rule · digits v3"
    assert sentence["text"]["text"] == "Accuracy fell."
    shown = [field["text"] for field in fields["fields"]]
    assert shown[:5] == [
        "*Value*\n8.0 points",
        "*Interval (99 % each side)*\n4.0 points to 12.0 points",
        "*Baseline*\n99.0 %",
        "*Allowed*\n0.5 points",
        "*Samples*\n200",
    ]
    assert len(shown) <= 10  # Slack refuses more
    assert "<https://host/e/1?a=1&amp;b=2|Evidence>" in context["elements"][0]["text"]
    assert "<https://wiki.example/accuracy|Runbook>" in context["elements"][0]["text"]
    json.dumps(payload)


def test_slack_control_characters_are_escaped_and_long_texts_cut() -> None:
    payload = slack_payload(notice(sentence="<!channel> & more " + "x" * 5000))
    text = payload["blocks"][1]["text"]["text"]
    assert text.startswith("&lt;!channel&gt; &amp; more")
    assert len(text) == 3000
    assert "<!channel>" not in payload["text"]


@pytest.mark.parametrize(
    ("kind", "words"), [("firing", "firing"), ("repeat", "still firing"), ("resolved", "resolved")]
)
def test_the_headline_says_what_happened(kind: Kind, words: str) -> None:
    assert notice(kind, key="7").title == f"{words}: a-rule (class 7) · digits v3"


def test_the_email_survives_the_wire_with_both_bodies() -> None:
    sent = email_message(notice(), "platform@example.org", ("a@example.org", "b@example.org"), "platform.local")
    read = message_from_bytes(sent.as_bytes(policy=policy.SMTP), policy=policy.default)
    assert read["Message-ID"] == "<a1-firing-1@platform.local>"
    assert read["References"] == "<a1@platform.local>"
    assert read["Subject"] == "[critical] firing: a-rule · digits v3"
    assert read["To"] == "a@example.org, b@example.org"
    assert read["Date"].datetime == NOON
    plain, html = read.get_body(("plain",)), read.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "Value: 8.0 points" in plain.get_content()
    assert "Evidence: https://host/e/1?a=1&b=2" in plain.get_content()
    assert '<a href="https://host/e/1?a=1&amp;b=2">Evidence</a>' in html.get_content()


def test_an_email_cannot_be_forged_through_its_words() -> None:
    sent = email_message(
        notice(sentence="<script>x</script>", key="7\nBcc: x@y.z"), "p@e.org", ("a@e.org",), "platform.local"
    )
    assert sent["Bcc"] is None
    html = sent.get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()


def test_the_webhook_body_holds_every_number() -> None:
    body = webhook_payload(notice(key="7"))
    assert (body["type"], body["timestamp"]) == ("alert.firing", "2026-03-01T12:00:00+00:00")
    data = body["data"]
    assert (data["value"], data["low"], data["high"], data["baseline"], data["threshold"], data["n"]) == (
        0.08, 0.04, 0.12, 0.99, 0.005, 200,
    )  # fmt: skip
    assert (data["rule"], data["metric"], data["key"], data["version"]) == ("a-rule", "accuracy_drop", "7", 3)
    assert data["idempotency_key"] == "a1-firing-1"
    json.dumps(body, allow_nan=False)
