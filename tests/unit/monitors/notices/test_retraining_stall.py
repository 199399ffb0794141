"""The notice about a retraining that brought nothing: why, what became of the labels, what happens next."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from monitors.notices.apprise_payload import apprise_payload
from monitors.notices.email_message import email_message
from monitors.notices.slack import slack_payload
from monitors.notices.unsuccessful_retraining_notice import (
    UnsuccessfulRetrainingNotice,
    unsuccessful_retraining_alert,
    unsuccessful_retraining_webhook,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LABELS = "It learnt from 45 of 2,100 labels and was judged on 37. Set aside: 1,810 over quota."
TOLD = UnsuccessfulRetrainingNotice(
    model="digits",
    retraining="r-1",
    outcome="inconclusive",
    reasons=("On 37 rows the candidate shows no benefit.",),
    label_summary=LABELS,
    streak=2,
    breaker=3,
    at=NOON,
    links={"Dashboard": "http://platform.test/"},
    idempotency_key="retraining-useless-r-1",
    candidate=2,
)


def test_it_says_why_and_what_became_of_the_labels_and_what_comes_next() -> None:
    assert TOLD.title == "retraining brought nothing: digits · 2 in a row"
    assert TOLD.sentences == [*TOLD.reasons, LABELS, "After 1 more like it alerts start none until a person looks."]
    assert (TOLD.severity, TOLD.is_breaker_open) == ("warning", False)


def test_the_last_one_that_is_allowed_is_critical_and_says_that_alerts_start_no_more() -> None:
    last = replace(TOLD, streak=3)
    assert (last.severity, last.is_breaker_open) == ("critical", True)
    assert last.sentences[-1].startswith("Alerts start no more retrainings until a person")
    never = replace(TOLD, streak=9, breaker=0, label_summary="")
    assert (never.is_breaker_open, never.sentences) == (False, [*TOLD.reasons])


def test_the_version_that_a_person_may_promote_by_hand_is_named() -> None:
    assert TOLD.facts["Candidate"] == "version 2"
    assert "Candidate" not in replace(TOLD, candidate=None).facts


def test_its_mail_belongs_to_no_thread_and_has_no_empty_header() -> None:
    mail = email_message(TOLD, "platform@example.org", ["ann@example.org"], "d.test")
    assert "References" not in mail


def test_machines_get_numbers_and_names() -> None:
    body = unsuccessful_retraining_webhook(TOLD)
    assert (body["type"], body["timestamp"]) == ("retraining.useless", NOON.isoformat())
    assert (
        body["data"].items() >= {"labels": LABELS, "in_a_row": 2, "stopped": False, "outcome": "inconclusive"}.items()
    )
    assert body["data"]["candidate"] == 2
    [alert] = unsuccessful_retraining_alert(TOLD, "on-call")["alerts"]
    assert alert["labels"]["alertname"] == "retraining-useless"


@pytest.mark.parametrize(
    "written",
    [
        lambda notice: str(slack_payload(notice)),
        lambda notice: email_message(notice, "platform@example.org", ["ann@example.org"], "d.test").as_string(),
        lambda notice: str(apprise_payload(notice)),
    ],
    ids=["slack", "mail", "push"],
)
def test_people_read_what_became_of_the_labels_on_every_channel(
    written: Callable[[UnsuccessfulRetrainingNotice], str],
) -> None:
    assert "1,810 over quota" in written(TOLD).replace("=\n", "").replace("\n", " ")
