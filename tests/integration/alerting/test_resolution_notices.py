"""Whoever is told that an alert fires is told that it has ended, in whatever way, or nothing of it is written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from mlplatform.alerting import outbox
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.alerting.retry_policy import RetryPolicy
from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import acknowledge_alert, silence_alerts
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from monitors.alerts import Silence
from tests.support.faulty_database import DyingDatabase
from tests.support.monitoring_world import RULES, all_alerts, answer, notices, promote, rule, tick, with_rules

WATCHED = RULES.replace(
    "  nobody:",
    '  on-call: {type: alertmanager, url: "http://receiver.test/"}\n'
    '  boss: {type: slack, url: "http://slack.test/boss"}\n'
    "  nobody:",
).replace("[team-slack, mail, events, nobody]", "[team-slack, mail, events, on-call, nobody]")
EVERYBODY = {"team-slack", "mail", "events", "on-call"}
MUTED = 'mute: [{from: "00:00", to: "23:00", severities: [critical]}]\n'
ENDED = ("resolved", "superseded")


def look(context: AppContext, name: str = "accuracy-drop") -> None:
    """Evaluate a rule in a slot of its own."""
    tick(context, seconds=61)
    evaluate(context, rule(context, name), context.clock())


def promoted(context: AppContext) -> None:
    promote(context, 2)
    look(context)


def rolled_back(context: AppContext) -> None:
    """The champion that fires goes back to the one before."""
    promotion_service(context).rollback("digits", "ada", "worse than before")
    look(context)


def sent_back_by_probation(context: AppContext) -> None:
    current = promotion_service(context).current("digits")
    assert current is not None
    promotion_service(context).promote(
        PromotionRequest(
            "digits", 1, current.to_version, "rollback", "watcher", "worse", in_transaction=lambda *_: None
        )
    )
    look(context)


def without_its_rule(context: AppContext) -> None:
    with_rules(context, WATCHED.replace("name: accuracy-drop", "name: another").replace("0.5 points", "99 points"))
    look(context, "another")


def recovered(context: AppContext) -> None:
    tick(context, hours=2)
    answer(context, 60, version=promotion_service(context).current("digits").to_version)  # type: ignore[union-attr]
    look(context)


def recovered_when_taken_on(context: AppContext) -> None:
    acknowledge_alert(context, all_alerts(context)[0].id, "ada")
    recovered(context)


def recovered_at_another_severity(context: AppContext) -> None:
    with_rules(context, WATCHED.replace("severity: critical", "severity: warning"))
    recovered(context)


def recovered_without_its_channels(context: AppContext) -> None:
    """The rule tells nobody any more; those who heard of it are told of the end."""
    with_rules(context, WATCHED.replace("[team-slack, mail, events, on-call, nobody]", "[]"))
    recovered(context)


def recovered_while_inhibited(context: AppContext) -> None:
    text = WATCHED.replace("severity: critical,", "severity: critical, inhibited_by: [class-error],")
    with_rules(context, text)
    look(context, "class-error")
    recovered(context)


@dataclass(frozen=True)
class Way:
    """How an alert ends, and who is to be told of it."""

    end: Callable[[AppContext], None]
    kind: str
    version: int = 1
    """Which champion the alert is about: 2 has one before it."""


WAYS = {
    "it recovers": Way(recovered, "resolved"),
    "it recovers after somebody took it on": Way(recovered_when_taken_on, "resolved"),
    "it recovers with another severity": Way(recovered_at_another_severity, "resolved"),
    "it recovers and its rule tells nobody now": Way(recovered_without_its_channels, "resolved"),
    "it recovers while another rule inhibits its own": Way(recovered_while_inhibited, "resolved"),
    "another version is promoted": Way(promoted, "superseded"),
    "its version is rolled back by hand": Way(rolled_back, "superseded", 2),
    "its version is rolled back by probation": Way(sent_back_by_probation, "superseded", 2),
    "its rule is removed": Way(without_its_rule, "superseded"),
}


@pytest.fixture
def world(context: AppContext) -> AppContext:
    return with_rules(context, WATCHED)


def fire(context: AppContext, version: int = 1) -> None:
    """A champion whose accuracy alert fires."""
    for each in range(1, version + 1):
        promote(context, each)
    answer(context, 18, 12, version=version)
    look(context)


def of_alert(context: AppContext, *kinds: str) -> list[OutboxMessage]:
    """The notices of these kinds about accuracy."""
    return [each for each in notices(context) if each.payload["kind"] in kinds and each.payload.get("alerts")]


def endings(context: AppContext) -> list[OutboxMessage]:
    return of_alert(context, *ENDED)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_channel_that_heard_of_an_alert_hears_of_its_end_once(world: AppContext, way: Way) -> None:
    fire(world, way.version)
    [alert] = all_alerts(world)
    assert {each.channel for each in of_alert(world, "firing")} == EVERYBODY
    way.end(world)
    [ended] = [each for each in all_alerts(world) if each.id == alert.id]
    assert ended.state == way.kind
    told = [each for each in endings(world) if alert.id in each.payload["alerts"]]
    assert sorted(each.channel for each in told) == sorted(EVERYBODY)
    assert {each.payload["kind"] for each in told} == {way.kind}
    assert {each.next_attempt_at for each in told} == {each.created_at for each in told}
    look(world, world.rules.rules[0].name)
    assert len([each for each in endings(world) if alert.id in each.payload["alerts"]]) == len(EVERYBODY)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_receiver_of_incidents_closes_every_one_it_was_given(world: AppContext, way: Way) -> None:
    fire(world, way.version)
    way.end(world)
    given = {
        each["fingerprint"]: each["labels"] for body in bodies(world, "firing", "repeat") for each in body["alerts"]
    }
    [body] = bodies(world, *ENDED)
    closed = {each["fingerprint"]: each["labels"] for each in body["alerts"] if each["status"] == "resolved"}
    assert given.items() <= closed.items()
    assert body["status"] == "resolved"
    assert {each["endsAt"][:4] for each in body["alerts"]} == {"2026"}
    assert body["groupLabels"] == bodies(world, "firing")[0]["groupLabels"]


def bodies(context: AppContext, *kinds: str) -> list[dict[str, Any]]:
    """What the receiver of incidents was posted about the accuracy alert."""
    return [
        each.payload["body"]
        for each in of_alert(context, *kinds)
        if each.channel == "on-call" and each.payload["body"]["groupLabels"]["alertname"] != "class-error"
    ]


def ends_an_alert(connection: Connection) -> bool:
    return any(message.payload["kind"] in ENDED for message in outbox.recent_messages(connection))


@pytest.mark.both_databases
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_an_alert_and_the_news_of_its_end_are_one_transaction(world: AppContext, way: Way) -> None:
    fire(world, way.version)
    dying = world.replace(database=DyingDatabase(world.database, ends_an_alert))
    with pytest.raises(StoreUnavailableError, match="killed"):
        way.end(dying)
    accuracy = [each for each in all_alerts(world) if each.rule == "accuracy-drop"]
    assert [each.is_open for each in accuracy] == [True]
    assert endings(world) == []


def test_nobody_hears_of_the_end_of_what_nobody_heard_of(world: AppContext) -> None:
    waiting = WATCHED.replace("severity: critical,", "severity: critical, for: 1h,")
    with_rules(world, waiting)
    fire(world)
    assert [each.state for each in all_alerts(world)] == ["pending"]
    promoted(world)
    assert endings(world) == []


@pytest.mark.parametrize("way", [recovered, promoted], ids=["recovered", "promoted"])
def test_under_a_silence_people_hear_nothing_and_receivers_of_incidents_close_theirs(
    world: AppContext, way: Callable[[AppContext], None]
) -> None:
    fire(world)
    until = world.clock() + timedelta(hours=9)
    silence_alerts(world, Silence("accuracy-drop", until, reason="known"), "me")
    way(world)
    assert [each.channel for each in endings(world)] == ["on-call"]


def test_in_mute_hours_people_hear_of_an_end_afterwards_and_receivers_of_incidents_at_once(world: AppContext) -> None:
    fire(world)
    with_rules(world, WATCHED.replace("channels:", f"{MUTED}channels:", 1))
    promoted(world)
    due = {each.channel: each.next_attempt_at for each in endings(world)}
    assert due.keys() == EVERYBODY
    assert due.pop("on-call") == world.clock()
    assert {(each.hour, each.minute) for each in due.values()} == {(23, 0)}


def test_what_fired_in_mute_hours_ends_without_a_word_to_people(world: AppContext) -> None:
    with_rules(world, WATCHED.replace("channels:", f"{MUTED}channels:", 1))
    fire(world)
    recovered(world)
    assert [each.state for each in all_alerts(world)] == ["resolved"]
    assert endings(world) == []


@pytest.mark.parametrize("way", [recovered, promoted], ids=["recovered", "promoted"])
def test_who_was_told_only_that_nobody_took_it_on_hears_of_the_end(
    world: AppContext, way: Callable[[AppContext], None]
) -> None:
    text = WATCHED.replace("severity: critical,", "severity: critical, escalate: {after: 30m, notify: [boss]},")
    with_rules(world, text)
    fire(world)
    tick(world, minutes=31)
    look(world)
    assert [each.channel for each in of_alert(world, "escalated")] == ["boss"]
    way(world)
    assert {each.channel for each in endings(world)} == EVERYBODY | {"boss"}


@pytest.mark.both_databases
def test_what_an_end_overtakes_is_sent_to_no_receiver_of_incidents_any_more(world: AppContext) -> None:
    fire(world)
    promoted(world)
    states = {each.channel: each.state for each in of_alert(world, "firing")}
    assert states == {"team-slack": "waiting", "mail": "waiting", "events": "waiting", "on-call": "overtaken"}
    [overtaken] = [each for each in notices(world) if each.state == "overtaken"]
    with world.database.write() as connection:
        assert overtaken not in outbox.list_undelivered(connection)
        patience = RetryPolicy(1, {"critical": timedelta(0)})
        outbox.schedule_retry(connection, replace(overtaken, state="waiting"), "HTTP 503", patience, world.clock())
    assert [each.state for each in notices(world) if each.id == overtaken.id] == ["overtaken"]


def test_several_classes_that_end_together_are_one_notice_per_channel(world: AppContext) -> None:
    promote(world)
    answer(world, 10, 20)
    look(world, "class-error")
    fired = [each for each in all_alerts(world) if each.state == "firing"]
    assert len(fired) == 1
    promoted(world)
    [ending] = [each for each in endings(world) if each.channel == "team-slack"]
    assert ending.payload["alerts"] == [each.id for each in fired]
    assert "ended: class-error (3) · digits v1" in str(ending.payload["body"])


# --- another champion


def promoted_and_rolled_back(context: AppContext) -> None:
    promote(context, 2)
    promotion_service(context).rollback("digits", "ada", "too slow")


@pytest.mark.parametrize(
    ("change", "kind", "title"),
    [
        (lambda parts: promote(parts, 2), "promoted", "promoted: digits v2 serves instead of v1"),
        (
            promoted_and_rolled_back,
            "rolled-back",
            "rolled back: digits v2 · v1 serves again",
        ),
    ],
)
def test_another_champion_is_told_in_the_transaction_that_makes_it(
    world: AppContext, change: Callable[[AppContext], object], kind: str, title: str
) -> None:
    promote(world)
    assert notices(world) == []
    change(world)
    told = [each for each in notices(world) if each.payload["kind"] == kind]
    assert {"team-slack", "mail", "events"} <= {each.channel for each in told}
    [posted] = [each.payload["body"] for each in told if each.channel == "events"]
    assert (posted["type"], posted["data"]["title"]) == (f"model.{kind}", title)


def test_a_promotion_is_no_incident_and_goes_to_the_channels_named_for_rollbacks(world: AppContext) -> None:
    promote(world)
    promote(world, 2)
    assert {each.channel for each in notices(world)} == {"team-slack", "mail", "events"}
    with_rules(world, WATCHED.replace("rules:", "probation: {notify: [boss]}\nrules:", 1))
    promote(world, 3)
    assert [each.channel for each in notices(world)[3:]] == ["boss"]


def test_a_promotion_stands_where_the_rules_cannot_be_read(world: AppContext) -> None:
    promote(world)
    with_rules(world, "version: 7")
    promote(world, 2)
    current = promotion_service(world).current("digits")
    assert current is not None
    assert current.to_version == 2
    assert notices(with_rules(world, WATCHED)) == []


def test_a_rollback_by_probation_is_told_by_the_probation_alone(world: AppContext) -> None:
    promote(world)
    promote(world, 2)
    before = len(notices(world))
    sent_back_by_probation(world)
    assert [each.payload["kind"] for each in notices(world)[before:]] == []
