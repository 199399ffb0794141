"""What channels are told about a version that was sent back."""

from datetime import timedelta

from monitors.notices.apprise_payload import apprise_payload
from monitors.notices.email_message import email_message
from monitors.notices.rollback_notice import RollbackNotice, rollback_alert, rollback_webhook
from monitors.notices.slack import slack_payload
from tests.support.monitor_examples import NOON

REASON = "Of 40 labelled answers, 9 that version 3 read wrong are read right by version 2, and 0 the other way round."
LINKS = {"Dashboard": "https://host/", "Model": "https://mlflow/m/3"}
TOLD = RollbackNotice(
    "digits", 3, 2, REASON, NOON, NOON - timedelta(days=1), {"Serves again": "digits v2"}, LINKS, "k-9"
)
TITLE = "rolled back: digits v3 · v2 serves again"


def test_slack_shows_what_happened_why_and_where_to_look() -> None:
    body = slack_payload(TOLD)
    header, instruction, section, fields, buttons, context = body["blocks"]
    assert instruction["text"]["text"].startswith("*Nothing to do now: version 2 serves again.")
    assert header["text"]["text"] == f"⏪ {TITLE}"
    assert REASON in section["text"]["text"]
    assert "in quarantine" in section["text"]["text"]
    assert fields["fields"][0]["text"] == "*Serves again*\ndigits v2"
    assert [button["url"] for button in buttons["elements"]] == list(LINKS.values())
    assert context["elements"][0]["text"] == "`k-9`"


def test_mail_and_push_carry_the_same_words() -> None:
    message = email_message(TOLD, "platform@example.org", ["a@example.org"], "host.invalid")
    assert message["Subject"] == f"[warning] {TITLE}"
    assert message["Message-ID"] == "<k-9@host.invalid>"
    text = message.get_body(("plain",))
    assert text is not None
    pushed = apprise_payload(TOLD)
    assert text.get_content().strip() == f"{TITLE}\n\n{pushed['body']}"
    assert (pushed["title"], pushed["type"]) == (TITLE, "warning")
    assert REASON in pushed["body"]


def test_a_program_gets_versions_and_reason_under_one_key() -> None:
    body = rollback_webhook(TOLD)
    assert (body["type"], body["timestamp"]) == ("model.rolled-back", NOON.isoformat())
    data = body["data"]
    assert (data["model"], data["version"], data["restored"], data["reason"]) == ("digits", 3, 2, REASON)
    assert data["idempotency_key"] == "k-9"


def test_alertmanagers_receivers_get_an_alert_of_its_own_that_stays_until_a_person_closes_it() -> None:
    body = rollback_alert(TOLD, "on-call")
    [alert] = body["alerts"]
    assert (body["version"], body["receiver"], body["status"], alert["status"]) == ("4", "on-call", "firing", "firing")
    assert body["groupKey"] == '{}:{alertname="model-rolled-back", model="digits", version="3"}'
    assert alert["labels"] == body["commonLabels"]
    assert alert["annotations"]["summary"] == TITLE
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert len(alert["fingerprint"]) == 16
