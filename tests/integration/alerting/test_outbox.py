"""The outbox: one notice per key, tried again with growing delays, given up where people see it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from mlplatform.alerting import outbox
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.alerting.retry_policy import MAX_RETRY_DELAY, RetryPolicy
from mlplatform.store.database import Database
from tests.support.platform_world import START
from tests.support.store_rows import saved, together, writing

pytestmark = pytest.mark.both_databases

SECOND = timedelta(seconds=1)
LIFE = timedelta(hours=1)


def put(database: Database, key: str, at: datetime = START, text: str = "fell") -> bool:
    with database.write() as connection:
        return outbox.enqueue(
            connection, key=key, channel="slack", payload={"body": {"text": text}}, alert_id=None, now=at
        )


def due(database: Database, now: datetime, limit: int = 20) -> list[OutboxMessage]:
    with database.read() as connection:
        return outbox.due_messages(connection, now, "digits", limit)


def fail(database: Database, message: OutboxMessage, allowed: int, now: datetime, error: str = "HTTP 503") -> str:
    with database.write() as connection:
        return outbox.schedule_retry(connection, message, error, RetryPolicy(allowed, {"critical": LIFE}), now)


def only(database: Database) -> OutboxMessage:
    with database.read() as connection:
        [message] = outbox.recent_messages(connection)
    return message


def test_a_notice_posted_twice_is_one_and_keeps_its_first_words(database: Database) -> None:
    assert put(database, "a-firing-1")
    assert not put(database, "a-firing-1", START + SECOND, "other words")
    assert only(database).payload == {"body": {"text": "fell"}}


def test_a_notice_about_a_model_is_sent_by_that_models_watcher_only(database: Database) -> None:
    for model in ("digits", "letters", None):
        with database.write() as connection:
            outbox.enqueue(
                connection, key=f"of {model}", channel="slack", payload={}, alert_id=None, now=START, model_name=model
            )
    assert [message.idempotency_key for message in due(database, START)] == ["of digits", "of None"]


def test_a_notice_posted_by_many_at_once_is_one(database: Database) -> None:
    results = together(*[lambda: put(database, "a-firing-1")] * 6)
    assert sorted(result for result in results if isinstance(result, bool)) == [False] * 5 + [True]
    assert only(database).idempotency_key == "a-firing-1"


def test_a_notice_falls_with_the_transaction_that_caused_it(database: Database) -> None:
    def crash(connection: Connection) -> None:
        outbox.enqueue(connection, key="k", channel="slack", payload={}, alert_id=None, now=START)
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        writing(database, crash)()
    assert due(database, START) == []


def test_a_notice_names_its_alert(database: Database) -> None:
    made = saved(database)
    with database.write() as connection:
        outbox.enqueue(connection, key="k", channel="mail", payload={}, alert_id=made.id, now=START)
    assert (only(database).alert_id, only(database).channel) == (made.id, "mail")


def test_due_are_the_waiting_from_their_moment_on_oldest_first(database: Database) -> None:
    for name in "abc":
        put(database, name)
    assert [item.idempotency_key for item in due(database, START)] == ["a", "b", "c"]
    assert [item.idempotency_key for item in due(database, START, limit=2)] == ["a", "b"]
    fail(database, due(database, START)[0], 8, START)
    assert [item.idempotency_key for item in due(database, START + SECOND)] == ["b", "c"]
    assert [item.idempotency_key for item in due(database, START + 2 * SECOND)] == ["a", "b", "c"]


def test_a_delivered_notice_is_due_no_more(database: Database) -> None:
    put(database, "a")
    fail(database, only(database), 8, START)
    with database.write() as connection:
        outbox.mark_delivered(connection, only(database).id, START + SECOND)
    message = only(database)
    assert (message.state, message.attempts, message.last_error) == ("delivered", 2, None)
    assert message.delivered_at == START + SECOND
    assert due(database, START + timedelta(days=1)) == []
    with database.read() as connection:
        assert outbox.list_undelivered(connection) == []


def test_what_a_notice_says_goes_with_its_last_try_but_for_what_closes_an_incident(database: Database) -> None:
    for name in ("sent", "failed", "overtaken", "waits", "incident"):
        kind = "alertmanager" if name == "incident" else "slack"
        payload = {"type": kind, "body": {"row": "ada"}, "alerts": ["a"]}
        with database.write() as connection:
            outbox.enqueue(connection, key=name, channel="ops", payload=payload, alert_id=None, now=START)
    with database.read() as connection:
        ids = {message.idempotency_key: message.id for message in outbox.recent_messages(connection)}
        failing = next(each for each in outbox.recent_messages(connection) if each.idempotency_key == "failed")
    with database.write() as connection:
        outbox.mark_delivered(connection, ids["sent"], START)
        outbox.mark_delivered(connection, ids["incident"], START)
        outbox.supersede(connection, [ids["overtaken"]])
    assert fail(database, failing, 1, START + 2 * LIFE) == "failed"
    with database.read() as connection:
        said = {each.idempotency_key: each.payload for each in outbox.recent_messages(connection)}
    assert {name for name, payload in said.items() if "body" in payload} == {"waits", "incident"}
    assert {tuple(payload["alerts"]) for payload in said.values()} == {("a",)}


def test_delays_double_up_to_the_longest_and_then_stay(database: Database) -> None:
    put(database, "a")
    now, delays = START, []
    for _ in range(12):
        assert fail(database, only(database), 100, now) == "waiting"
        delays.append(int((only(database).next_attempt_at - now).total_seconds()))
        now = only(database).next_attempt_at
    assert delays == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_the_hundredth_try_is_planned_like_the_tenth(database: Database) -> None:
    put(database, "a")
    assert fail(database, replace(only(database), attempts=99), 10_000, START) == "waiting"
    assert only(database).next_attempt_at == START + MAX_RETRY_DELAY


def test_after_the_tries_allowed_a_notice_fails_and_stays_visible(database: Database) -> None:
    put(database, "a")
    late = START + LIFE
    assert [fail(database, only(database), 3, late) for _ in range(3)] == ["waiting", "waiting", "failed"]
    assert due(database, START + timedelta(days=1)) == []
    with database.read() as connection:
        [message] = outbox.list_undelivered(connection)
    assert (message.state, message.attempts, message.last_error) == ("failed", 3, "HTTP 503")


def test_a_failure_told_after_another_courier_delivered_changes_nothing(database: Database) -> None:
    put(database, "a")
    message = only(database)
    with database.write() as connection:
        outbox.mark_delivered(connection, message.id, START)
    held = only(database)
    assert fail(database, message, 1, START + SECOND) == "delivered"
    assert only(database) == held


def test_a_receivers_answer_of_any_length_and_bytes_is_kept_as_far_as_it_can_be(database: Database) -> None:
    put(database, "a")
    fail(database, only(database), 8, START, "HTTP 500: \0\0" + "x" * 1000)
    assert only(database).last_error == "HTTP 500: " + "x" * 490


def with_severity(database: Database, key: str, severity: str, at: datetime = START, channel: str = "slack") -> None:
    with database.write() as connection:
        payload = {"severity": severity}
        outbox.enqueue(connection, key=key, channel=channel, payload=payload, alert_id=None, now=at)


def test_critical_notices_go_first_however_many_others_are_older(database: Database) -> None:
    for number in range(30):
        with_severity(database, f"warning {number}", "warning")
    with_severity(database, "critical", "critical", START + SECOND)
    assert [item.idempotency_key for item in due(database, START + SECOND, limit=2)] == ["critical", "warning 0"]


def test_channels_are_named_when_something_is_due_for_them(database: Database) -> None:
    with_severity(database, "now", "info", channel="mail")
    with_severity(database, "too", "info", channel="slack")
    with_severity(database, "later", "info", START + SECOND, channel="phone")
    with database.read() as connection:
        assert outbox.channels_due(connection, START + SECOND, "digits") == ["mail", "phone", "slack"]
        assert [item.channel for item in outbox.due_messages(connection, START, "digits", 9, "mail")] == ["mail"]


@pytest.mark.parametrize(("severity", "hours"), [("critical", 24), ("warning", 6), ("info", 1), ("unknown", 24)])
def test_a_notice_is_given_up_when_both_its_tries_and_its_time_are_used_up(
    database: Database, severity: str, hours: int
) -> None:
    lives = {"critical": 24, "warning": 6, "info": 1}
    patience = RetryPolicy(3, {name: timedelta(hours=life) for name, life in lives.items()})
    with_severity(database, "a", severity)
    over = timedelta(hours=hours)
    tries = [(START + over / 2, 2), (START + over - SECOND, 50), (START + over, 1), (START + over, 2)]
    states = []
    for moment, attempts in tries:
        with database.write() as connection:
            message = replace(only(database), attempts=attempts)
            states.append(outbox.schedule_retry(connection, message, "HTTP 503", patience, moment))
    assert states == ["waiting", "waiting", "waiting", "failed"]


def test_a_wait_the_receiver_asked_for_is_kept_and_costs_no_try_but_the_notices_time_goes_on(
    database: Database,
) -> None:
    put(database, "a")
    patience = RetryPolicy(1, {"critical": LIFE})
    for asked, planned in ((30, 30), (0, 2), (10**6, 3600)):
        with database.write() as connection:
            seconds = timedelta(seconds=asked)
            assert outbox.schedule_retry(connection, only(database), "HTTP 429", patience, START, seconds) == "waiting"
        assert (only(database).attempts, only(database).next_attempt_at) == (0, START + timedelta(seconds=planned))
    with database.write() as connection:
        assert outbox.schedule_retry(connection, only(database), "HTTP 429", patience, START + LIFE, SECOND) == "failed"


def test_what_is_left_to_send_is_kept_with_the_next_try(database: Database) -> None:
    put(database, "a")
    fail(database, replace(only(database), payload={"readers": ["b@c.d"]}), 8, START)
    assert only(database).payload == {"readers": ["b@c.d"]}


def test_a_notice_from_a_clock_that_was_ahead_is_due_at_once_but_not_tried_again_at_once(database: Database) -> None:
    put(database, "a", START + timedelta(days=1))
    [message] = due(database, START)
    fail(database, message, 8, START)
    assert due(database, START) == []
    assert len(due(database, START + 2 * SECOND)) == 1


def test_a_next_try_that_lies_further_off_than_any_wait_is_due(database: Database) -> None:
    put(database, "a")
    fail(database, only(database), 8, START + timedelta(hours=3))
    assert len(due(database, START)) == 1


def test_after_a_clock_was_set_back_next_tries_keep_their_distance(database: Database) -> None:
    for key, moment in (("a", START), ("b", START - timedelta(days=9))):
        put(database, key, START - timedelta(days=9))
        with database.write() as connection:
            message = next(each for each in outbox.recent_messages(connection) if each.idempotency_key == key)
            outbox.schedule_retry(
                connection, replace(message, attempts=5), "x", RetryPolicy(9, {"critical": LIFE}), moment
            )
    back = timedelta(minutes=10)
    with database.write() as connection:
        assert outbox.reschedule_after_clock_step(connection, "digits", back, START - back) == 1
        planned = {each.idempotency_key: each.next_attempt_at for each in outbox.recent_messages(connection)}
    assert planned["a"] == START - back + timedelta(seconds=64)
    assert planned["b"] < START - back
