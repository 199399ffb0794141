"""Notices in the outbox: composed once and whole."""

import email
import email.policy
import json
from datetime import timedelta

import pytest

from mlplatform.build import Parts
from mlplatform.loop import turn
from mlplatform.notices import post_notice
from mlplatform.people import silence_rules
from mlplatform.settings import Settings
from mlplatform.store import outbox
from monitors.alerts import Kind
from tests.mlplatform.loop_world import (
    RULES,
    SECRET,
    all_alerts,
    all_evaluations,
    answer,
    counting,
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
def world(parts: Parts) -> Parts:
    """A platform whose accuracy alert just fired and told everybody."""
    promote(with_rules(parts))
    answer(parts, 18, 12)
    turn(parts, rule(parts, "accuracy-drop"), parts.clock(), measure=counting)
    return parts


def post(parts: Parts, kind: Kind = "firing", notify: tuple[str, ...] | None = None) -> int:
    """Post a notice about the alert again."""
    the_rule = rule(parts, "accuracy-drop")
    if notify is not None:
        the_rule = the_rule.model_copy(update={"notify": notify})
    [alert], evaluation = all_alerts(parts), all_evaluations(parts)[0]
    with parts.database.write() as connection:
        return post_notice(connection, parts, the_rule, alert, kind, "It is so.", evaluation)


def payload(parts: Parts, channel: str) -> outbox.Message:
    """The notice for one channel."""
    return next(message for message in notices(parts) if message.channel == channel)


def test_the_same_notice_again_changes_nothing(world: Parts) -> None:
    before = notices(world)
    assert post(world) == 0
    assert notices(world) == before


def test_another_kind_of_notice_has_a_key_of_its_own(world: Parts) -> None:
    assert post(world, "resolved") == 3
    assert len({message.idempotency_key for message in notices(world)}) == 6


def test_an_unconfigured_channel_posts_nothing(world: Parts) -> None:
    assert post(world, "resolved", ("nobody",)) == 0
    assert post(world, "resolved", ()) == 0


def test_a_silence_posts_nothing_until_it_ends(world: Parts) -> None:
    silence_rules(world, "*", timedelta(minutes=5), "me", "")
    assert post(world, "resolved") == 0


def test_no_secret_and_no_address_is_in_the_outbox(world: Parts) -> None:
    kept = json.dumps([message.payload for message in notices(world)])
    for hidden in (SECRET, "slack.test", "events.test"):
        assert hidden not in kept


def test_slack_gets_blocks_with_links_and_the_key(world: Parts) -> None:
    message = payload(world, "team-slack")
    body = json.dumps(message.payload["body"])
    evaluation = all_evaluations(world)[0]
    assert message.payload["type"] == "slack"
    assert f"<https://platform.test/v1/evaluations/{evaluation.id}/report|Report>" in body
    assert "<https://mlflow.test/#/models/digits/versions/1|Model>" in body
    assert message.idempotency_key.removesuffix("-team-slack") in body


def test_the_webhook_gets_the_alert_as_data(world: Parts) -> None:
    body = payload(world, "events").payload["body"]
    [alert] = all_alerts(world)
    assert (body["type"], body["data"]["alert_id"], body["data"]["version"]) == ("alert.firing", alert.id, 1)
    assert body["data"]["links"]["API"] == "https://platform.test/docs"


def test_the_email_survives_the_outbox_with_its_identity_unfolded(world: Parts) -> None:
    text = payload(world, "mail").payload["message"]
    message = email.message_from_string(text, policy=email.policy.default)
    [alert] = all_alerts(world)
    assert message["Message-ID"] == f"<{alert.id}-firing-1@mlplatform.invalid>"
    assert message["References"] == f"<{alert.id}@mlplatform.invalid>"
    assert message["Subject"] == "[critical] firing: accuracy-drop · digits v1"
    plain = message.get_body(("plain",))
    assert plain is not None
    assert "Accuracy is 60.0 %" in plain.get_content()


def test_without_public_addresses_there_are_no_links(parts: Parts, settings: Settings) -> None:
    plain = Parts(settings.model_copy(update={"public_url": "", "mlflow_public_url": ""}), parts.clock)
    plain.__dict__.update(database=parts.database, catalog=parts.catalog)
    promote(with_rules(plain, RULES))
    answer(plain, 18, 12)
    turn(plain, rule(plain, "accuracy-drop"), plain.clock(), measure=counting)
    assert payload(plain, "events").payload["body"]["data"]["links"] == {}


def test_a_notice_waits_from_the_moment_of_its_evaluation(world: Parts) -> None:
    tick(world, hours=1)
    assert {message.next_attempt_at for message in notices(world)} == {all_evaluations(world)[0].at}
