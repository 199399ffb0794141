"""Deliveries: at least once, each try the same, visible when given up."""

import json
import smtplib
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest

from mlplatform.alerting import outbox
from mlplatform.alerting.delivery import create_delivery
from mlplatform.alerting.dispatcher import OutboxDispatcher, create_dispatcher
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.demo.receivers import Mailbox, run_receivers
from mlplatform.errors import DeliveryError, FencedError, StoreUnavailableError
from mlplatform.host.processes import free_port
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.settings import Settings
from monitors.notices.webhook_signature import verify
from tests.support.faulty_database import DyingDatabase
from tests.support.monitoring_world import RULES, SECRET, answer, lease_of, notices, promote, rule, tick, with_rules

Answer = Callable[[httpx.Request], httpx.Response]
ATTEMPTS = 4


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changed = {"delivery_attempts": ATTEMPTS, "delivery_hours_critical": 0.0, "delivery_timeout_seconds": 5.0}
    return settings.model_copy(update=changed)


@pytest.fixture
def world(context: AppContext) -> AppContext:
    promote(with_rules(context))
    return context


def fire(context: AppContext, channel: str) -> outbox.OutboxMessage:
    """Let the accuracy alert fire and tell one channel."""
    the_rule = rule(context, "accuracy-drop").model_copy(update={"notify": (channel,)})
    answer(context, 18, 12)
    evaluate(context, the_rule, context.clock())
    [message] = notices(context)
    return message


class Receiver:
    """A web server in memory: it keeps the requests and answers as told."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request)


def sends_to(context: AppContext, answer: Answer) -> tuple[OutboxDispatcher, Receiver]:
    receiver = Receiver(answer)
    return create_dispatcher(
        context, create_delivery(context, httpx.Client(transport=httpx.MockTransport(receiver)))
    ), receiver


def fine(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="ok")


def broken(request: httpx.Request) -> httpx.Response:
    return httpx.Response(500, text="no_service")


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("too slow", request=request)


def test_slack_takes_a_notice_once(world: AppContext) -> None:
    fire(world, "team-slack")
    sender, receiver = sends_to(world, fine)
    assert sender.dispatch_due() == {"delivered": 1, "waiting": 0, "failed": 0}
    assert sender.dispatch_due() == {"delivered": 0, "waiting": 0, "failed": 0}
    [request] = receiver.requests
    [message] = notices(world)
    assert (str(request.url), request.headers["content-type"]) == ("http://slack.test/hook", "application/json")
    assert request.headers["idempotency-key"] == message.idempotency_key
    assert (message.state, message.attempts, message.delivered_at) == ("delivered", 1, world.clock())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (broken, "HTTP 500: no_service"),
        (silent, "no answer (ReadTimeout)"),
        (lambda _: httpx.Response(302, headers={"location": "http://elsewhere.test"}), "HTTP 302: "),
        (lambda _: httpx.Response(500, content=b"\x00\x01 binary"), "HTTP 500: \x01 binary"),
    ],
)
def test_a_receiver_that_takes_nothing_is_tried_again_later_with_its_answer_kept(
    world: AppContext, answer: Answer, error: str
) -> None:
    fire(world, "team-slack")
    sender, receiver = sends_to(world, answer)
    assert sender.dispatch_due()["waiting"] == 1
    [message] = notices(world)
    assert (message.state, message.attempts, message.last_error) == ("waiting", 1, error)
    assert message.next_attempt_at == world.clock() + timedelta(seconds=2)
    assert sender.dispatch_due()["waiting"] == 0  # not due yet
    assert len(receiver.requests) == 1


@pytest.mark.both_databases
def test_the_waits_double_and_the_last_failure_is_visible(world: AppContext) -> None:
    fire(world, "team-slack")
    sender, receiver = sends_to(world, broken)
    for seconds in (2, 4, 8):
        sender.dispatch_due()
        [message] = notices(world)
        assert message.next_attempt_at - world.clock() == timedelta(seconds=seconds)
        tick(world, seconds=seconds)
    assert sender.dispatch_due() == {"delivered": 0, "waiting": 0, "failed": 1}
    tick(world, days=1)
    assert sender.dispatch_due() == {"delivered": 0, "waiting": 0, "failed": 0}
    assert len(receiver.requests) == ATTEMPTS
    with world.database.read() as connection:
        [given_up] = outbox.list_undelivered(connection)
        entry = audit_entries.recent_entries(connection)[0]
    assert given_up.state == "failed"
    assert (entry["action"], entry["subject"]) == ("gave-up", f"notice/{given_up.idempotency_key}")


def test_every_try_of_a_webhook_is_signed_anew_and_otherwise_the_same(world: AppContext) -> None:
    fire(world, "events")
    sender, receiver = sends_to(world, broken)
    for _ in range(3):
        sender.dispatch_due()
        tick(world, minutes=10)
    times = []
    for request in receiver.requests:
        identity, moment = request.headers["webhook-id"], int(request.headers["webhook-timestamp"])
        assert verify(SECRET, identity, moment, request.content, request.headers["webhook-signature"], moment)
        times.append(moment)
    assert [later - times[0] for later in times] == [0, 600, 1200]
    assert len({request.content for request in receiver.requests}) == 1
    assert {request.headers["webhook-id"] for request in receiver.requests} == {notices(world)[0].idempotency_key}


@pytest.mark.both_databases
def test_killed_between_sending_and_marking_it_is_sent_again_with_the_same_identity(world: AppContext) -> None:
    fire(world, "events")
    dying = world.replace(database=DyingDatabase(world.database))
    receiver = Receiver(fine)
    client = httpx.Client(transport=httpx.MockTransport(receiver))
    with pytest.raises(StoreUnavailableError, match="killed"):
        create_dispatcher(dying, create_delivery(dying, client)).dispatch_due()
    tick(world, seconds=30)
    assert create_dispatcher(world, create_delivery(world, client)).dispatch_due()["delivered"] == 1
    first, second = receiver.requests
    assert first.content == second.content
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


@pytest.mark.both_databases
def test_a_courier_that_no_longer_leads_sends_nothing(world: AppContext) -> None:
    fire(world, "team-slack")
    lease = lease_of(world, "paused")
    tick(world, seconds=16)
    lease_of(world, "next")
    sender, receiver = sends_to(world, fine)
    with pytest.raises(FencedError):
        sender.dispatch_due(lease)
    assert (receiver.requests, notices(world)[0].state) == ([], "waiting")


@pytest.mark.parametrize("text", [RULES.replace("http://slack.test/hook", ""), RULES.replace("team-slack", "team")])
def test_a_channel_that_went_away_is_reported_and_the_others_are_served(world: AppContext, text: str) -> None:
    fire(world, "team-slack")
    with_rules(world, text)
    sender, receiver = sends_to(world, fine)
    assert sender.dispatch_due()["waiting"] == 1
    assert notices(world)[0].last_error == "channel 'team-slack' is no longer configured in alerts.yaml"
    assert receiver.requests == []


@pytest.mark.parametrize("address", ["http://slack.test:port/hook", "http://xn--/hook"])
def test_an_address_nobody_can_have_holds_up_no_other_notice(world: AppContext, address: str) -> None:
    with_rules(world, RULES.replace("http://slack.test/hook", address))
    answer(world, 18, 12)
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    with_rules(world, world.settings.alerts_file.read_text().replace("host: 127.0.0.1", f"host: {'x' * 70}.test"))
    sender, receiver = sends_to(world, fine)
    assert sender.dispatch_due() == {"delivered": 1, "waiting": 2, "failed": 0}
    assert [request.url.host for request in receiver.requests] == ["events.test"]


@pytest.fixture
def mailbox(world: AppContext) -> Iterator[Mailbox]:
    """A real SMTP server on loopback that the email channel sends to."""
    port = free_port()
    with_rules(world, RULES.replace("port: 1,", f"port: {port},"))
    with run_receivers(free_port(), port) as mailbox:
        yield mailbox


def test_an_email_arrives_whole_under_the_identity_of_its_notice(world: AppContext, mailbox: Mailbox) -> None:
    message = fire(world, "mail")
    assert create_dispatcher(world).dispatch_due()["delivered"] == 1
    assert mailbox.wait_for_messages(0, 1, 10)
    [mail] = mailbox.mails
    assert mail["Message-ID"] == f"<{message.idempotency_key.removesuffix('-mail')}@mlplatform.invalid>"
    assert (mail["To"], mail["From"]) == ("a@example.org", "platform@example.org")
    assert mail["Subject"] == "[critical] firing: accuracy-drop · digits v1"
    html = mail.get_body(("html",))
    assert html is not None
    assert "Accuracy is 60.0 %" in html.get_content()


def test_a_mail_server_that_is_away_is_tried_again(world: AppContext) -> None:
    fire(world, "mail")
    sender, _ = sends_to(world, fine)
    assert sender.dispatch_due()["waiting"] == 1
    error = notices(world)[0].last_error
    assert error is not None
    assert error.startswith("SMTP 127.0.0.1:1: ")


def test_a_mail_server_without_tls_gets_no_mail_when_tls_is_asked_for(world: AppContext, mailbox: Mailbox) -> None:
    fire(world, "mail")
    with_rules(world, world.settings.alerts_file.read_text().replace("starttls: false", "starttls: true"))
    assert create_dispatcher(world).dispatch_due()["waiting"] == 1
    assert mailbox.mails == []
    with pytest.raises(DeliveryError, match="STARTTLS") as caught:
        create_delivery(world).send(notices(world)[0])
    assert isinstance(caught.value.__cause__, smtplib.SMTPNotSupportedError)


def test_a_receivers_answer_is_kept_without_the_secret_address_it_repeats(world: AppContext) -> None:
    rules = RULES.replace("http://slack.test/hook", "http://slack.test/services/T000/SECRETPART?token=abcdef")
    with_rules(world, rules)
    fire(world, "team-slack")
    sender, _ = sends_to(world, lambda request: httpx.Response(404, text=f"Cannot POST {request.url.raw_path!r}"))
    sender.dispatch_due()
    [message] = notices(world)
    assert message.last_error is not None
    assert message.last_error.startswith("HTTP 404: Cannot POST")
    assert not [part for part in ("T000", "SECRETPART", "abcdef") if part in message.last_error]


def test_a_channel_of_another_kind_under_the_old_name_blocks_no_other_message(world: AppContext) -> None:
    fire(world, "mail")
    answer(world, 0)
    rules = RULES.replace(
        "mail: {type: email, host: 127.0.0.1, port: 1, starttls: false, sender: platform@example.org, "
        "to: [a@example.org]}",
        'mail: {type: slack, url: "http://slack.test/mail"}',
    )
    assert rules != RULES
    with_rules(world, rules)
    sender, receiver = sends_to(world, fine)
    assert sender.dispatch_due() == {"delivered": 0, "waiting": 1, "failed": 0}
    [message] = notices(world)
    assert "is slack now" in (message.last_error or "")
    assert receiver.requests == []


def pictured(context: AppContext, answer: Answer) -> tuple[OutboxDispatcher, Receiver]:
    """A dispatcher for a Slack notice that shows pictures by their public address."""
    public = context.replace(settings=context.settings.model_copy(update={"public_url": "https://platform.test"}))
    fire(public, "team-slack")
    return sends_to(public, answer)


def has_picture(request: httpx.Request) -> bool:
    return b'"image_url"' in request.content


def test_slack_gets_the_notice_without_pictures_when_it_cannot_fetch_them(world: AppContext) -> None:
    def slack(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, text="invalid_blocks") if has_picture(request) else fine(request)

    sender, receiver = pictured(world, slack)
    assert sender.dispatch_due() == {"delivered": 1, "waiting": 0, "failed": 0}
    assert [has_picture(request) for request in receiver.requests] == [True, False]
    assert receiver.requests[0].headers["idempotency-key"] == receiver.requests[1].headers["idempotency-key"]


@pytest.mark.parametrize(("status", "tries"), [(400, 2), (500, 1)])
def test_slack_is_asked_once_more_only_when_it_says_the_message_is_wrong(
    world: AppContext, status: int, tries: int
) -> None:
    sender, receiver = pictured(world, lambda _: httpx.Response(status, text="no"))
    assert sender.dispatch_due() == {"delivered": 0, "waiting": 1, "failed": 0}
    assert len(receiver.requests) == tries
    assert notices(world)[0].last_error == f"HTTP {status}: no"


def with_channel(context: AppContext, written: str) -> AppContext:
    """The same rules, with the events channel written so."""
    line = next(line for line in RULES.splitlines() if line.strip().startswith("events:"))
    return with_rules(context, RULES.replace(line, f"  events: {{{written}}}"))


def test_an_existing_alertmanager_receiver_gets_what_it_knows(world: AppContext) -> None:
    with_channel(world, 'type: alertmanager, url: "http://me:pass@receiver.test/alerts"')
    message = fire(world, "events")
    sender, receiver = sends_to(world, fine)
    assert sender.dispatch_due()["delivered"] == 1
    [request] = receiver.requests
    body = json.loads(request.content)
    assert (body["version"], body["receiver"], body["status"]) == ("4", "events", "firing")
    assert request.headers["idempotency-key"] == message.idempotency_key
    assert request.headers["authorization"].startswith("Basic ")
    assert "webhook-signature" not in request.headers


def test_any_apprise_url_is_a_channel(world: AppContext) -> None:
    port = free_port()
    with_channel(world, f'type: apprise, url: "json://127.0.0.1:{port}/topic"')
    fire(world, "events")
    sender, _ = sends_to(world, fine)
    with run_receivers(port, free_port()) as mailbox:
        assert sender.dispatch_due()["delivered"] == 1
        [posted] = mailbox.posts
    assert posted.json["title"] == "firing: accuracy-drop · digits v1"


def test_an_apprise_failure_is_kept_without_its_secret(world: AppContext) -> None:
    with_channel(world, f'type: apprise, url: "json://me:SECRETPART@127.0.0.1:{free_port()}/topic"')
    fire(world, "events")
    sender, _ = sends_to(world, fine)
    assert sender.dispatch_due()["waiting"] == 1
    error = notices(world)[0].last_error
    assert error is not None
    assert error.startswith("Apprise (JSON): failure: ")
    assert "SECRETPART" not in error
