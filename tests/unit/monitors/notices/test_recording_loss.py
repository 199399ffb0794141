"""What channels are told when a server loses predictions."""

from monitors.notices.apprise_payload import apprise_payload
from monitors.notices.lost_predictions_notice import RecordingLossNotice, recording_loss_alert, recording_loss_webhook
from monitors.notices.slack import slack_payload
from tests.support.monitor_examples import NOON

FORGOTTEN = RecordingLossNotice("digits", "host:1:a", 1200, 3, NOON, {"Dashboard": "https://host/"}, "k-1")
REFUSED = RecordingLossNotice("digits", "host:1:a", 0, 7, NOON, {}, "k-2")


def test_people_read_how_many_were_forgotten_on_which_server_and_what_to_do() -> None:
    body = slack_payload(FORGOTTEN)
    header, instruction, section, fields = body["blocks"][:4]
    assert "Look now: predictions are being lost" in instruction["text"]["text"]
    assert header["text"]["text"] == "🕳️ recording: 1,200 predictions forgotten · digits"
    assert "PLATFORM_SPOOL_MB" in section["text"]["text"]
    assert fields["fields"][0]["text"] == "*Server*\nhost:1:a"
    assert apprise_payload(FORGOTTEN)["type"] == "failure"


def test_refusing_is_less_grave_than_forgetting() -> None:
    assert (FORGOTTEN.severity, REFUSED.severity) == ("critical", "warning")
    assert REFUSED.title == "recording: 7 predictions refused · digits"
    assert "forgotten" not in " ".join(REFUSED.sentences)


def test_programs_get_the_counts_under_one_key() -> None:
    data = recording_loss_webhook(FORGOTTEN)["data"]
    assert (data["dropped"], data["refused"], data["idempotency_key"]) == (1200, 3, "k-1")
    [alert] = recording_loss_alert(REFUSED, "on-call")["alerts"]
    assert alert["labels"] == {
        "alertname": "recording-lost",
        "model": "digits",
        "server": "host:1:a",
        "severity": "warning",
    }


def test_what_waits_for_a_person_is_said_with_the_command_that_shows_it() -> None:
    aside = RecordingLossNotice("digits", "host:1:a", 0, 0, NOON, {}, "k-3", set_aside=12)
    assert (aside.title, aside.severity) == ("recording: 12 predictions set aside · digits", "warning")
    assert "platform recording list" in " ".join(aside.sentences)
    assert "PLATFORM_SPOOL_MB" not in " ".join(aside.sentences)
    assert aside.facts["Set aside"] == "12"
    assert recording_loss_webhook(aside)["data"]["set_aside"] == 12


def test_a_replaced_database_file_is_grave_and_says_where_answers_are() -> None:
    replaced = RecordingLossNotice("digits", "process 7", 0, 0, NOON, {}, "k-4", replaced="/home/platform.db")
    assert (replaced.title, replaced.severity) == ("recording: the database file was replaced · digits", "critical")
    assert "/home/platform.db" in replaced.sentences[0]
    assert "wait in the spools" in " ".join(replaced.sentences)
