"""Rehearsals of channels: sent at once, to receivers on loopback."""

import json
from collections.abc import Iterator

import httpx
import pytest

from mlplatform.alerting.channel_test import send_test_notice
from mlplatform.context import AppContext
from mlplatform.demo.receivers import Mailbox, run_receivers
from mlplatform.errors import DeliveryError, NotFoundError, SettingsError
from mlplatform.host.processes import free_port
from mlplatform.settings import Settings
from monitors.notices.webhook_signature import verify
from tests.support.monitoring_world import SECRET, with_rules

RULES = f"""\
version: 1
model: digits
channels:
  team-slack: {{type: slack, url: "http://127.0.0.1:HTTP/slack"}}
  mail: {{type: email, host: 127.0.0.1, port: SMTP, starttls: false, sender: p@example.org, to: [a@example.org]}}
  events: {{type: webhook, url: "http://127.0.0.1:HTTP/events", secret: "{SECRET}"}}
  on-call: {{type: alertmanager, url: "http://127.0.0.1:HTTP/alerts"}}
  phone: {{type: apprise, url: "json://127.0.0.1:HTTP/phone"}}
  from-variable: {{type: slack, url: "${{PLATFORM_TEST_NO_SUCH_URL:-}}"}}
  half-mail: {{type: email, host: "${{PLATFORM_TEST_NO_SUCH_HOST:-}}", sender: p@example.org, to: ""}}
rules:
  - {{name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20}}
"""


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[tuple[AppContext, Mailbox]]:
    """Rules whose channels end at receivers on loopback; no database is there."""
    http, smtp = free_port(), free_port()
    context = with_rules(AppContext(settings), RULES.replace("HTTP", str(http)).replace("SMTP", str(smtp)))
    with run_receivers(http, smtp) as box:
        yield context, box


@pytest.mark.parametrize("name", ["team-slack", "events", "on-call", "phone"])
def test_a_sample_arrives_and_says_that_it_is_a_test(mailbox: tuple[AppContext, Mailbox], name: str) -> None:
    context, box = mailbox
    send_test_notice(context, name)
    [posted] = box.posts
    said = json.dumps(posted.json, ensure_ascii=False)
    assert f"This is a test of channel {name}: nothing is wrong" in said
    assert "firing: test · digits v1" in said


def test_a_sample_webhook_is_signed(mailbox: tuple[AppContext, Mailbox]) -> None:
    context, box = mailbox
    send_test_notice(context, "events")
    [posted] = box.posts
    identity, moment = posted.headers["webhook-id"], int(posted.headers["webhook-timestamp"])
    assert verify(SECRET, identity, moment, posted.body, posted.headers["webhook-signature"], moment)
    assert posted.json["data"]["rule"] == "test"


def test_a_sample_email_arrives(mailbox: tuple[AppContext, Mailbox]) -> None:
    context, box = mailbox
    send_test_notice(context, "mail")
    assert box.wait_for_messages(0, 1, 10)
    assert box.mails[0]["Subject"] == "[info] firing: test · digits v1"


def test_a_rehearsal_needs_no_database_and_leaves_nothing_behind(mailbox: tuple[AppContext, Mailbox]) -> None:
    context, _ = mailbox
    send_test_notice(context, "on-call")
    assert not context.settings.home.exists()


def test_an_unknown_channel_names_the_known_ones(mailbox: tuple[AppContext, Mailbox]) -> None:
    with pytest.raises(NotFoundError, match=r"'nope' is not in .*; it has: events, from-variable, half-mail, mail,"):
        send_test_notice(mailbox[0], "nope")


def test_a_channel_that_is_off_says_which_keys_and_variables_are_empty(mailbox: tuple[AppContext, Mailbox]) -> None:
    context, _ = mailbox
    with pytest.raises(SettingsError, match=r"off: url is empty \(set PLATFORM_TEST_NO_SUCH_URL\)"):
        send_test_notice(context, "from-variable")
    with pytest.raises(SettingsError, match=r"host is empty \(set PLATFORM_TEST_NO_SUCH_HOST\); to is empty \(write"):
        send_test_notice(context, "half-mail")


def test_a_receivers_refusal_is_told_without_the_address(mailbox: tuple[AppContext, Mailbox]) -> None:
    context, _ = mailbox
    text = context.settings.alerts_file.read_text().replace("/slack", "/SECRETPART")
    with_rules(context, text)
    refusing = httpx.Client(
        transport=httpx.MockTransport(lambda request: httpx.Response(404, text=f"no team at {request.url.path}"))
    )
    with pytest.raises(DeliveryError, match=r"^channel 'team-slack': HTTP 404: no team at /\*\*\*$"):
        send_test_notice(context, "team-slack", refusing)
