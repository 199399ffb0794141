"""What every type of channel must keep: a subclass names its configuration and its receiver's limits.

    class TestSlack(ChannelContract):
        written: ClassVar = {"type": "slack", "url": "http://127.0.0.1:1/SECRETPART"}

        def check_limits(self, payload: dict[str, Any]) -> None:
            check_block_kit(payload["body"])

`written` is the channel as in alerts.yaml, its address one that takes nothing (a port of loopback where nobody listens,
a path in no folder), its secrets holding `SECRETPART`. A receiver that is there and takes the notice needs a test of
its own.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import orjson
import pytest
from pydantic import TypeAdapter

from mlplatform.alerting.channels.adapters import ADAPTERS, render
from mlplatform.alerting.channels.channel import AnyNotice, SendContext
from mlplatform.alerting.channels.http_poster import HttpPoster
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.errors import DeliveryError
from mlplatform.network.egress import egress_policy
from mlplatform.network.http_clients import create_egress_client
from monitors.notices.approval_notice import ApprovalNotice
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice
from monitors.notices.lost_predictions_notice import RecordingLossNotice
from monitors.notices.notice import Subject
from monitors.notices.promotion_notice import PromotionNotice
from monitors.notices.rollback_notice import RollbackNotice
from monitors.notices.superseded_notice import SupersededNotice
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice
from monitors.rules.channel_config import Channel
from tests.support.monitor_examples import NOON
from tests.support.notice_examples import CLASSES, LINKS, fired, group, notice

SECRET = "SECRETPART"
STEERING = "Bad\x1b[2J \u202eread\u200b\r\nfake: line\x00"
KINDS = (
    "firing", "repeat", "escalated", "resolved", "several alerts", "superseded", "rolled back", "predictions lost",
    "promoted", "approval-requested", "approval-rejected", "approval-expired", "retraining unsuccessful",
    "audit contradiction",
)  # fmt: skip


def notice_of(kind: str, text: str = "Accuracy fell.") -> AnyNotice:
    """A notice of each kind that there is, with a text from outside in it."""
    at, links, key = NOON, LINKS, "the-identity"
    match kind:
        case "firing" | "repeat" | "escalated" | "resolved":
            return notice(kind, text, pictures=3)
        case "several alerts":
            return group()
        case "superseded":
            return SupersededNotice((fired(),), text, at, links, key)
        case "rolled back":
            return RollbackNotice("digits", 3, 2, text, at, at, {"Version": "digits v3", "By": text}, links, key)
        case "predictions lost":
            return RecordingLossNotice("digits", text, 5, 7, at, links, key)
        case "promoted":
            return PromotionNotice("digits", 3, 2, text, text, at, links, key)
        case "approval-requested" | "approval-rejected" | "approval-expired":
            return ApprovalNotice(kind, "digits", 3, 2, text, (text,), text, text, at, at, links, key)
        case "retraining unsuccessful":
            return UnsuccessfulRetrainingNotice("digits", "r1", "kept", (text,), text, 2, 3, at, links, key)
        case "audit contradiction":
            return AuditContradictionNotice("digits", (text,), at, links, key)
        case _:
            raise ValueError(kind)


def large_notice(kind: str) -> AnyNotice:
    """A notice of that kind with very long and very many texts."""
    if kind == "several alerts":
        subjects = (Subject(fired(CLASSES, f"a{n}", f"{n}-" + "x" * 900), "Bad & worse. " * 90) for n in range(60))
        return replace(group(), subjects=tuple(subjects), top_confusions=("a read as b",) * 60)
    return notice_of(kind, "Bad & <worse>. " * 400)


class ChannelContract:
    """Tests of one type of channel."""

    written: ClassVar[Mapping[str, Any]]
    unsupported: ClassVar[tuple[str, ...]] = ()
    """Kinds of notices that are never sent through this type of channel."""

    def check_limits(self, payload: dict[str, Any]) -> None:
        """Fail where the receiver would refuse a payload for its size or shape."""
        raise NotImplementedError

    def read_texts(self, payload: dict[str, Any]) -> list[str]:
        """What people read of a payload: all texts in it, where a subclass names no others."""
        return list(texts_in(payload))

    @pytest.fixture
    def channel(self) -> Channel:
        channel: Channel = TypeAdapter[Channel](Channel).validate_python(dict(self.written))
        assert channel.is_configured
        return channel

    @pytest.fixture(params=KINDS)
    def kind(self, request: pytest.FixtureRequest) -> str:
        """Every kind of notice that the channel takes."""
        kind: str = request.param
        if kind in self.unsupported:
            pytest.skip(f"{kind} is not sent through {self.written['type']}")
        return kind

    def test_it_is_an_adapter_under_its_own_type(self, channel: Channel) -> None:
        assert channel.type == self.written["type"]
        assert channel.type in ADAPTERS

    def test_every_kind_of_notice_is_rendered_with_its_identity_or_text(self, channel: Channel, kind: str) -> None:
        payload = render(notice_of(kind, "PARTICULAR"), "it", channel)
        assert payload["type"] == channel.type
        if kind != "several alerts":
            assert any("PARTICULAR" in text for text in texts_in(payload))

    def test_the_same_notice_is_the_same_bytes(self, channel: Channel, kind: str) -> None:
        first, second = (orjson.dumps(render(notice_of(kind), "it", channel)) for _ in range(2))
        assert first == second

    def test_a_large_notice_keeps_within_the_limits(self, channel: Channel, kind: str) -> None:
        self.check_limits(render(large_notice(kind), "it", channel))
        self.check_limits(render(notice_of(kind), "it", channel))

    def test_what_people_read_holds_no_character_that_steers(self, channel: Channel, kind: str) -> None:
        texts = self.read_texts(render(notice_of(kind, STEERING), "it", channel))
        assert texts
        for text in texts:
            assert not [each for each in text if unicodedata.category(each) in ("Cc", "Cf") and each != "\n"], text
            assert not [line for line in text.splitlines() if line.startswith("fake:")], text

    def test_no_secret_is_kept_in_the_outbox(self, channel: Channel, kind: str) -> None:
        assert SECRET.encode() not in orjson.dumps(render(notice_of(kind), "it", channel))

    def test_a_receiver_that_is_not_there_is_a_failed_delivery_without_secrets(self, channel: Channel) -> None:
        policy = egress_policy(("127.0.0.1",))
        with create_egress_client(20.0, policy) as client:
            context = SendContext(HttpPoster(client, lambda: NOON, policy), policy, "", 20.0, lambda: NOON)
            payload = render(notice_of("firing"), "it", channel)
            message = OutboxMessage("id", "key", None, "it", payload, "waiting", NOON, NOON, 0, None, None)
            with pytest.raises(DeliveryError) as caught:
                ADAPTERS[channel.type].send(message, channel, context)
        assert SECRET not in str(caught.value)


def texts_in(value: object) -> Iterator[str]:
    """All texts anywhere in a JSON value, but for its keys."""
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from texts_in(item)
        case list() | tuple():
            for item in value:
                yield from texts_in(item)
