"""Notices in the outbox: composed once and whole."""

import email
import email.policy
import json
from datetime import timedelta

import pytest

from mlplatform.alerting import outbox
from mlplatform.alerting.notice_builder import ERROR_PERIOD, version_error_thumbnails
from mlplatform.alerting.notifications import enqueue_alert_notice
from mlplatform.context import AppContext
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import silence_alerts
from mlplatform.settings import Settings
from monitors.alerts import NoticeKind, Silence
from monitors.notices.notice import Subject
from tests.support.misread_world import body_for, evaluated, kept, misread_world, tell
from tests.support.monitoring_world import (
    RULES,
    SECRET,
    all_alerts,
    all_evaluations,
    answer,
    notices,
    promote,
    rule,
    tick,
    with_rules,
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"public_url": "https://platform.test/", "mlflow_public_url": "https://mlflow.test/"}
    )


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform whose accuracy alert just fired and told everybody."""
    promote(with_rules(context))
    answer(context, 18, 12)
    evaluate(context, rule(context, "accuracy-drop"), context.clock())
    return context


def post(context: AppContext, kind: NoticeKind = "firing", notify: tuple[str, ...] | None = None) -> int:
    """Post a notice about the alert again."""
    the_rule = rule(context, "accuracy-drop")
    if notify is not None:
        the_rule = the_rule.model_copy(update={"notify": notify})
    [alert], evaluation = all_alerts(context), all_evaluations(context)[0]
    with context.database.write() as connection:
        return enqueue_alert_notice(connection, context, the_rule, [Subject(alert, "It is so.")], kind, evaluation)


def payload(context: AppContext, channel: str) -> outbox.OutboxMessage:
    """The notice for one channel."""
    return next(message for message in notices(context) if message.channel == channel)


def test_the_same_notice_again_changes_nothing(world: AppContext) -> None:
    before = notices(world)
    assert post(world) == 0
    assert notices(world) == before


def test_another_kind_of_notice_has_a_key_of_its_own(world: AppContext) -> None:
    assert post(world, "resolved") == 3
    assert len({message.idempotency_key for message in notices(world)}) == 6


def test_an_unconfigured_channel_posts_nothing(world: AppContext) -> None:
    assert post(world, "repeat", ("nobody",)) == 0
    assert post(world, "repeat", ()) == 0


def test_a_silence_posts_nothing_until_it_ends(world: AppContext) -> None:
    silence_alerts(world, Silence("*", world.clock() + timedelta(minutes=5), reason=""), "me")
    assert post(world, "resolved") == 0


def test_no_secret_and_no_address_is_in_the_outbox(world: AppContext) -> None:
    kept = json.dumps([message.payload for message in notices(world)])
    for hidden in (SECRET, "slack.test", "events.test"):
        assert hidden not in kept


def test_slack_gets_blocks_with_links_and_the_key(world: AppContext) -> None:
    message = payload(world, "team-slack")
    body = json.dumps(message.payload["body"])
    evaluation = all_evaluations(world)[0]
    assert message.payload["type"] == "slack"
    assert f'"url": "https://platform.test/v1/evaluations/{evaluation.id}/report"' in body
    assert '"url": "https://mlflow.test/#/models/digits/versions/1"' in body
    assert message.idempotency_key.removesuffix("-team-slack") in body


def test_the_webhook_gets_the_alert_as_data(world: AppContext) -> None:
    body = payload(world, "events").payload["body"]
    [alert] = all_alerts(world)
    assert (body["type"], body["data"]["version"]) == ("alert.firing", 1)
    assert [each["alert_id"] for each in body["data"]["alerts"]] == [alert.id]
    assert body["data"]["links"]["Acknowledge"] == f"https://platform.test/alerts/{alert.id}"


def test_the_email_survives_the_outbox_with_its_identity_unfolded(world: AppContext) -> None:
    text = payload(world, "mail").payload["message"]
    message = email.message_from_string(text, policy=email.policy.default)
    [alert] = all_alerts(world)
    assert message["Message-ID"] == f"<{alert.id}-firing-1@mlplatform.invalid>"
    assert message["References"] == f"<{alert.id}@mlplatform.invalid>"
    assert message["Subject"] == "[critical] firing: accuracy-drop · digits v1"
    plain = message.get_body(("plain",))
    assert plain is not None
    assert "Accuracy is 60.0 %" in plain.get_content()


def test_without_public_addresses_there_are_no_links(context: AppContext, settings: Settings) -> None:
    plain = context.replace(settings=settings.model_copy(update={"public_url": "", "mlflow_public_url": ""}))
    promote(with_rules(plain, RULES))
    answer(plain, 18, 12)
    evaluate(plain, rule(plain, "accuracy-drop"), plain.clock())
    assert payload(plain, "events").payload["body"]["data"]["links"] == {}


def test_a_notice_waits_from_the_moment_of_its_evaluation(world: AppContext) -> None:
    tick(world, hours=1)
    assert {message.next_attempt_at for message in notices(world)} == {all_evaluations(world)[0].at}


@pytest.fixture
def misread(context: AppContext) -> AppContext:
    """A platform whose champion misreads 3, 5 and 8, with every kind of channel."""
    return misread_world(context)


def test_several_alerts_of_one_evaluation_are_one_notice_per_channel(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    subjects = kept(misread, evaluation, "358")
    assert tell(misread, subjects, "firing", evaluation) == 5
    assert {message.channel: message.idempotency_key for message in notices(misread)} == {
        name: f"{evaluation.id}-firing-{name}" for name in ("team-slack", "mail", "events", "on-call", "phone")
    }
    assert {message.alert_id for message in notices(misread)} == {subjects[0].alert.id}
    assert notices(misread)[0].payload["alerts"] == [each.alert.id for each in subjects]
    data = body_for(misread, "events")["data"]
    assert isinstance(data, dict)
    assert data["title"] == "firing: class-error (classes 3, 5, 8) · digits v1"
    assert data["links"]["Acknowledge"] == "https://platform.test/alerts"


@pytest.mark.both_databases
def test_the_same_group_again_changes_nothing(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    subjects = kept(misread, evaluation, "358")
    assert [tell(misread, subjects, "firing", evaluation) for _ in range(2)] == [5, 0]


def test_a_silence_covers_a_group_as_it_covers_one_alert(misread: AppContext) -> None:
    silence_alerts(misread, Silence("class-*", misread.clock() + timedelta(hours=1), reason=""), "me")
    evaluation = evaluated(misread)
    assert tell(misread, kept(misread, evaluation, "35"), "firing", evaluation) == 0


def test_the_pair_most_often_confused_is_named_for_each_class(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    tell(misread, kept(misread, evaluation, "38"), "firing", evaluation)
    data = body_for(misread, "events")["data"]
    assert isinstance(data, dict)
    assert data["confused"] == ["3 read as 5, 8 of 10 errors", "8 read as 3, 8 of 10 errors"]


@pytest.mark.both_databases
def test_the_worst_errors_are_shared_out_among_the_classes(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    tell(misread, kept(misread, evaluation, "358"), "firing", evaluation)
    data = body_for(misread, "events")["data"]
    assert isinstance(data, dict)
    assert [each["caption"] for each in data["worst_errors"]] == [
        "3 read as 0, 88 %", "3 read as 0, 86 %", "5 read as 0, 88 %", "5 read as 0, 86 %", "8 read as 0, 88 %",
        "8 read as 0, 86 %",
    ]  # fmt: skip
    first = data["worst_errors"][0]
    assert first["url"] == f"https://platform.test/v1/predictions/{first['prediction_id']}/image"


def test_one_alert_about_the_whole_shows_the_worst_of_all_classes(world: AppContext) -> None:
    data = payload(world, "events").payload["body"]["data"]
    assert data["confused"] == ["3 read as 5, 12 of 12 errors"]
    assert [each["caption"] for each in data["worst_errors"]] == ["3 read as 5, 90 %"]  # one picture, sent often


def test_an_email_carries_its_pictures_and_needs_no_public_address(world: AppContext) -> None:
    message = email.message_from_string(payload(world, "mail").payload["message"], policy=email.policy.default)
    [picture] = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content().startswith(b"\x89PNG")


def test_what_is_resolved_needs_no_pictures_and_no_acknowledgement(misread: AppContext) -> None:
    evaluation = evaluated(misread, "ok")
    tell(misread, kept(misread, evaluation, "3", "resolved"), "resolved", evaluation)
    data = body_for(misread, "events")["data"]
    assert isinstance(data, dict)
    assert (data["confused"], data["worst_errors"]) == ([], [])
    assert list(data["links"]) == ["Alert", "Dashboard", "Model"]


def test_a_receiver_of_groups_is_told_which_alerts_fire_on(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    kept(misread, evaluation, "35")
    later = evaluated(misread, "ok")
    tell(misread, kept(misread, later, "3", "resolved"), "resolved", later)
    body = body_for(misread, "on-call")
    assert (body["status"], body["receiver"]) == ("firing", "on-call")
    assert isinstance(body["alerts"], list)
    assert [(each["labels"]["class"], each["status"]) for each in body["alerts"]] == [
        ("3", "resolved"), ("5", "firing"),
    ]  # fmt: skip


def test_no_channel_keeps_its_address_in_the_outbox(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    tell(misread, kept(misread, evaluation, "358"), "firing", evaluation)
    kept_text = json.dumps([message.payload for message in notices(misread)])
    for hidden in (SECRET, "slack.test", "events.test", "receiver.test", "hidden-path", "hidden-token", "push.test"):
        assert hidden not in kept_text


def test_notices_about_a_version_show_what_it_was_wrong_about(misread: AppContext) -> None:
    now = misread.clock()
    with misread.database.read() as connection:
        shown = version_error_thumbnails(connection, misread, "digits", 1, now - ERROR_PERIOD, now)
        assert version_error_thumbnails(connection, misread, "digits", 2, now - ERROR_PERIOD, now) == ()
    assert shown
    assert all(each.caption.startswith("v1: ") and each.png for each in shown)
