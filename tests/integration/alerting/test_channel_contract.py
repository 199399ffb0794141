"""Every type of channel keeps the contract of channels."""

import base64
import email
import email.policy
from typing import Any, ClassVar

import orjson

from mlplatform.alerting.channels.adapters import ADAPTERS
from monitors.notices.alertmanager import MAX_DESCRIPTION_LENGTH
from monitors.notices.notice import MAX_TEXT_LENGTH, MAX_TITLE_LENGTH
from monitors.rules.channel_config import CHANNEL_TYPES
from tests.support.channel_contract import SECRET, ChannelContract, texts_in

WEBHOOK_SECRET = "whsec_" + base64.b64encode(f"{SECRET}-{SECRET}-{SECRET}".encode()).decode()
MAX_BODY_BYTES = 4 * 2**20


class TestSlack(ChannelContract):
    written: ClassVar = {"type": "slack", "url": f"http://127.0.0.1:1/{SECRET}"}

    def check_limits(self, payload: dict[str, Any]) -> None:
        check_block_kit(payload["body"])


class TestEmail(ChannelContract):
    written: ClassVar = {
        "type": "email", "host": "127.0.0.1", "port": 1, "sender": "a@b.c", "to": ["d@e.f"], "starttls": False,
        "username": SECRET, "password": SECRET,
    }  # fmt: skip

    def check_limits(self, payload: dict[str, Any]) -> None:
        assert len(payload["message"].encode()) < 10 * MAX_TEXT_LENGTH
        assert max(map(len, payload["message"].splitlines())) <= 998  # RFC 5322

    def read_texts(self, payload: dict[str, Any]) -> list[str]:
        message = email.message_from_string(payload["message"], policy=email.policy.default)
        parts = (message.get_body((kind,)) for kind in ("plain", "html"))
        return [message["Subject"], *(part.get_content() for part in parts if part is not None)]


class TestWebhook(ChannelContract):
    written: ClassVar = {"type": "webhook", "url": f"http://127.0.0.1:1/{SECRET}", "secret": WEBHOOK_SECRET}

    def check_limits(self, payload: dict[str, Any]) -> None:
        assert len(orjson.dumps(payload)) < MAX_BODY_BYTES

    def read_texts(self, payload: dict[str, Any]) -> list[str]:
        data = payload["body"]["data"]
        return [data["title"], *(alert["sentence"] for alert in data.get("alerts", ()) if "sentence" in alert)]


class TestAlertmanager(ChannelContract):
    written: ClassVar = {"type": "alertmanager", "url": f"http://127.0.0.1:1/{SECRET}"}
    unsupported = ("superseded", "promoted", "approval-requested", "approval-rejected", "approval-expired")

    def check_limits(self, payload: dict[str, Any]) -> None:
        for alert in payload["body"]["alerts"]:
            assert len(alert["annotations"]["description"]) <= MAX_DESCRIPTION_LENGTH

    def read_texts(self, payload: dict[str, Any]) -> list[str]:
        return [text for alert in payload["body"]["alerts"] for text in texts_in(alert["annotations"])]


class TestApprise(ChannelContract):
    written: ClassVar = {"type": "apprise", "url": f"json://me:{SECRET}@127.0.0.1:1/{SECRET}"}

    def check_limits(self, payload: dict[str, Any]) -> None:
        assert len(payload["body"]["title"]) <= MAX_TITLE_LENGTH + 100
        assert len(payload["body"]["body"]) <= 2 * MAX_TEXT_LENGTH


def test_every_type_in_alerts_yaml_has_an_adapter_and_a_contract() -> None:
    tested = {contract.written["type"] for contract in ChannelContract.__subclasses__()}
    assert tested == set(ADAPTERS) == set(CHANNEL_TYPES)


def check_block_kit(body: dict[str, Any]) -> None:
    """Fail on anything that Slack would refuse."""
    assert 1 <= len(body["blocks"]) <= 50
    for block in body["blocks"]:
        match block["type"]:
            case "header":
                assert 1 <= len(block["text"]["text"]) <= 150
            case "section":
                assert len(block.get("fields", ())) <= 10
                assert all(1 <= len(field["text"]) <= 2000 for field in block.get("fields", ()))
                assert 1 <= len(block.get("text", {"text": "x"})["text"]) <= 3000
            case "context":
                assert 1 <= len(block["elements"]) <= 10
            case "actions":
                assert 1 <= len(block["elements"]) <= 25
                assert all(len(element["text"]["text"]) <= 75 for element in block["elements"])
