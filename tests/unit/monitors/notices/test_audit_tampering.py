"""What channels are told when the audit log contradicts its anchors."""

from monitors.notices.apprise_payload import apprise_payload
from monitors.notices.audit_contradiction_notice import (
    MAX_CONTRADICTIONS,
    AuditContradictionNotice,
    audit_contradiction_alert,
    audit_contradiction_webhook,
)
from monitors.notices.email_message import email_message
from monitors.notices.slack import slack_payload
from tests.support.monitor_examples import NOON

FAULTS = tuple(f"chain log: link {number} is gone" for number in range(MAX_CONTRADICTIONS + 2))
NOTICE = AuditContradictionNotice("digits", FAULTS, NOON, {"Dashboard": "https://host/"}, "k-1")


def test_people_read_the_first_contradictions_how_many_there_are_and_what_to_do() -> None:
    header, instruction, section, fields = slack_payload(NOTICE)["blocks"][:4]
    assert "Run `platform audit verify` now" in instruction["text"]["text"]
    assert header["text"]["text"] == "🔏 audit log contradicts its anchors · digits"
    assert "link 4 is gone" in section["text"]["text"]
    assert "link 5 is gone" not in section["text"]["text"]
    assert "And 2 more" in section["text"]["text"]
    assert "platform audit verify" in section["text"]["text"]
    assert fields["fields"][0]["text"] == "*Contradictions*\n7"
    assert apprise_payload(NOTICE)["type"] == "failure"


def test_programs_get_all_of_them_under_one_key() -> None:
    data = audit_contradiction_webhook(NOTICE)["data"]
    assert (data["faults"], data["idempotency_key"]) == (list(FAULTS), "k-1")
    [alert] = audit_contradiction_alert(NOTICE, "on-call")["alerts"]
    assert alert["labels"] == {"alertname": "audit-contradiction", "model": "digits", "severity": "critical"}


def test_texts_from_outside_steer_no_channel_and_forge_no_header() -> None:
    hostile = "eve\nBcc: all@example.org\r\x1b[2J\u202e\x9b"
    notice = AuditContradictionNotice(hostile, (hostile,), NOON, {}, "k-2")
    mail = email_message(notice, "from@example.org", ["to@example.org"], "example.invalid")
    assert mail["Subject"].startswith("[critical] audit log contradicts its anchors · eve Bcc:")
    assert mail["Bcc"] is None
    parts = [str(part.get_content()) for part in mail.walk() if part.get_content_maintype() == "text"]
    slack, push = slack_payload(notice), apprise_payload(notice)
    shown = [*parts, slack["text"], *(block["text"]["text"] for block in slack["blocks"][:2]), *push.values()]
    assert len(parts) == 2
    for text in shown:
        assert not set("\x1b\u202e\x9b\r") & set(text)
        assert not any(line.startswith("Bcc:") for line in text.splitlines())
