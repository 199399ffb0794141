"""One message to one channel: every receiver has a whole deadline and a bounded answer, and its wishes are honoured."""

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from mlplatform.alerting import outbox
from mlplatform.alerting.channels.http_poster import MAX_RESPONSE_BYTES, parse_retry_after
from mlplatform.alerting.channels.transport import Transport, create_transport
from mlplatform.alerting.delivery import MAX_HUNG_DELIVERIES, Delivery, create_delivery
from mlplatform.alerting.dispatcher import OutboxDispatcher, create_dispatcher
from mlplatform.alerting.retry_policy import RetryPolicy
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.monitoring_world import SECRET, notices, tick, with_rules
from tests.support.stubborn_peers import (
    Behaviour,
    Peer,
    after_a_line,
    after_a_request,
    answering,
    flooding,
    lines,
    peer,
)

SECONDS = 1.0
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHANNELS = {
    "slack": 'type: slack, url: "http://127.0.0.1:PORT/hook"',
    "webhook": f'type: webhook, url: "http://127.0.0.1:PORT/in", secret: "{SECRET}"',
    "webhook over TLS": f'type: webhook, url: "https://127.0.0.1:PORT/in", secret: "{SECRET}"',
    "alertmanager": 'type: alertmanager, url: "http://127.0.0.1:PORT/alerts"',
    "apprise": 'type: apprise, url: "json://127.0.0.1:PORT/topic"',
    "mail": "type: email, host: 127.0.0.1, port: PORT, starttls: false, sender: a@b.c, to: [d@e.f]",
    "mail over STARTTLS": "type: email, host: 127.0.0.1, port: PORT, sender: a@b.c, to: [d@e.f]",
    "mail over TLS": "type: email, host: 127.0.0.1, port: PORT, tls: implicit, sender: a@b.c, to: [d@e.f]",
}


def silent(self: Peer, connection: socket.socket) -> None:
    self.silence(connection)


def dripping(first: bytes = b"", piece: bytes = b"x") -> Behaviour:
    return lambda self, connection: self.drip(connection, first, piece)


HTTP = ("slack", "webhook", "alertmanager", "apprise")
MAIL = ("mail", "mail over STARTTLS")
STUBBORN: dict[str, tuple[Sequence[str], Behaviour]] = {
    "says nothing": ((*HTTP, *MAIL, "webhook over TLS", "mail over TLS"), silent),
    "drips header bytes": (HTTP, answering(b"HTTP/1.1 200 OK\r\nX: ")),
    "drips a status line": (HTTP, answering(b"HTTP/1.1 200 ")),
    "drips header lines": (("webhook",), after_a_request(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n")),
    "goes on without end": (("webhook",), flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "drips a handshake": (("webhook over TLS", "mail over TLS"), dripping(b"\x16\x03\x03\x3f\xff")),
    "drips a greeting": (MAIL, dripping(b"220-", b"x")),
    "drips lines of a greeting": (MAIL, dripping(b"220-hello\r\n", b"220-\r\n")),
    "drips after EHLO": (MAIL, lines(b"220 hello\r\n", then=after_a_line(b"250-"))),
    "drips a second handshake": (
        ("mail over STARTTLS",),
        lines(b"220 hello\r\n", b"250-a\r\n250 STARTTLS\r\n", b"220 go\r\n", then=dripping(b"\x16\x03\x03\x3f\xff")),
    ),
}
CASES = [(name, kind, channel) for name, (channels, kind) in STUBBORN.items() for channel in channels]


@pytest.fixture
def database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """An empty store; the tests of the outbox run on every kind of database."""
    path = tmp_path / "platform.db"
    shutil.copy(sqlite_template, path)
    made = Database(f"sqlite:///{path}")
    yield made
    made.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"delivery_timeout_seconds": SECONDS})


def with_channels(context: AppContext, written: Mapping[str, str]) -> AppContext:
    """Rules with these channels, and one that nobody is to notice."""
    channels = "\n".join(f"  {name}: {{{text}}}" for name, text in written.items())
    rules = "rules:\n  - {name: r, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20}\n"
    return with_rules(context, f"version: 1\nmodel: digits\nchannels:\n{channels}\n{rules}")


def post(context: AppContext, channel: str, key: str = "k", severity: str = "critical") -> outbox.OutboxMessage:
    """Put a small notice into the outbox."""
    kind = context.rules.channels[channel].type
    payload: dict[str, object] = {"type": kind, "severity": severity, "body": {"blocks": []}}
    if kind == "email":
        payload["message"] = "Subject: it fell\nFrom: a@b.c\nTo: d@e.f\n\nIt fell.\n"
    if kind == "apprise":
        payload["body"] = {"title": "t", "body": "b", "type": "info"}
    with context.database.write() as connection:
        outbox.enqueue(connection, key=key, channel=channel, payload=payload, alert_id=None, now=context.clock())
    return next(each for each in notices(context) if each.idempotency_key == key)


@pytest.mark.parametrize(("behaviour", "channel"), [case[1:] for case in CASES], ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_a_receiver_that_keeps_whoever_talks_to_it_is_put_off(
    context: AppContext, behaviour: Behaviour, channel: str
) -> None:
    with peer(behaviour) as (port, stubborn):
        with_channels(context, {"it": CHANNELS[channel].replace("PORT", str(port))})
        message = post(context, "it")
        with pytest.raises(DeliveryError, match=r"no answer within|timeout|Timeout|timed out|no answer \(|longer than"):
            create_delivery(context).send(message)
        assert stubborn.was_cut()


@pytest.mark.parametrize("channel", ["slack", "webhook", "alertmanager"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
def test_a_receiver_that_took_it_may_drip_its_answer(context: AppContext, channel: str, status: str) -> None:
    head = f"HTTP/1.1 {status}\r\ncontent-length: 999999\r\n\r\n".encode()
    with peer(answering(head)) as (port, _):
        with_channels(context, {"it": CHANNELS[channel].replace("PORT", str(port))})
        post(context, "it")
        assert create_dispatcher(context).dispatch_due() == {"delivered": 1, "waiting": 0, "failed": 0}


def test_a_receiver_that_refused_it_and_drips_is_quoted(context: AppContext) -> None:
    with peer(answering(b"HTTP/1.1 500 No\r\ncontent-length: 999999\r\n\r\nsorry ")) as (port, _):
        with_channels(context, {"it": CHANNELS["webhook"].replace("PORT", str(port))})
        with pytest.raises(DeliveryError, match="HTTP 500: sorry x"):
            create_delivery(context).send(post(context, "it"))


@pytest.mark.parametrize("head", [b"content-length: 314572800\r\n\r\n", b"content-encoding: gzip\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize("status", [b"200 OK", b"500 No"])
def test_no_more_than_a_part_of_an_answer_is_read(context: AppContext, head: bytes, status: bytes) -> None:
    with peer(flooding(b"HTTP/1.1 " + status + b"\r\n" + head, b"x" * 65536)) as (port, stubborn):
        with_channels(context, {"it": CHANNELS["webhook"].replace("PORT", str(port))})
        post(context, "it")
        assert create_dispatcher(context).dispatch_due()["delivered"] == (1 if status.startswith(b"2") else 0)
        assert stubborn.was_cut()
        assert stubborn.sent < 100 * MAX_RESPONSE_BYTES  # what lies in the buffers of both ends included


def test_apprise_reads_no_endless_answer_into_this_process(context: AppContext) -> None:
    settings = context.settings.model_copy(update={"delivery_timeout_seconds": 30.0})
    patient = context.replace(settings=settings)
    with peer(flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 2**20)) as (port, stubborn):
        with_channels(patient, {"it": CHANNELS["apprise"].replace("PORT", str(port))})
        with pytest.raises(DeliveryError, match="Apprise"):
            create_delivery(patient).send(post(patient, "it"))
        assert stubborn.was_cut()


@pytest.mark.parametrize("piece", [b"220-" + b"x" * 500 + b"\r\n", b"x" * 4096])
def test_a_mail_server_that_answers_without_end_is_left(context: AppContext, piece: bytes) -> None:
    with peer(lambda s, c: s.flood(c, b"", piece)) as (port, stubborn):
        with_channels(context, {"it": CHANNELS["mail"].replace("PORT", str(port))})
        with pytest.raises(DeliveryError, match="SMTP 127"):
            create_delivery(context).send(post(context, "it"))
        assert stubborn.was_cut()


# --- channels beside each other


class Endless:
    """A transport whose deliveries to one channel hang where nothing can end them, as the lookup of a name may."""

    def __init__(self, stuck: str) -> None:
        self.stuck, self.released = stuck, threading.Event()
        self.sent: list[str] = []
        self.arrived = threading.Condition()

    def send(self, message: outbox.OutboxMessage) -> None:
        if message.channel == self.stuck:
            self.released.wait(60)
            raise DeliveryError("too late")
        with self.arrived:
            self.sent.append(message.idempotency_key)
            self.arrived.notify_all()

    def wait(self, count: int) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.sent) >= count, 30)


def beside(context: AppContext, transport: Endless) -> OutboxDispatcher:
    return create_dispatcher(context, Delivery(transport.send, SECONDS))


THREE = {name: CHANNELS["slack"].replace("PORT", str(place)) for place, name in enumerate(("stuck", "a", "b"), 1)}


def test_channels_do_not_wait_for_one_that_hangs(context: AppContext) -> None:
    with_channels(context, THREE)
    transport = Endless("stuck")
    sender = beside(context, transport)
    for number in range(30):
        post(context, "stuck", f"stuck {number}")
    for name in ("a", "b"):
        post(context, name, name, "info")
    sender.start_workers()
    assert transport.wait(2)
    post(context, "a", "critical and later")
    while "critical and later" not in transport.sent:
        tick(context, seconds=1)
        sender.start_workers()
    assert [each.state for each in notices(context) if each.channel == "stuck"] == ["waiting"] * 30
    transport.released.set()
    sender.close(0)


def test_deliveries_that_cannot_be_ended_are_few_and_the_channel_comes_back(context: AppContext) -> None:
    with_channels(context, THREE)
    transport = Endless("stuck")
    sender = Delivery(transport.send, SECONDS)
    message = post(context, "stuck")
    for _ in range(MAX_HUNG_DELIVERIES):
        with pytest.raises(DeliveryError, match="no answer within"):
            sender.send(message)
    with pytest.raises(DeliveryError, match=f"{MAX_HUNG_DELIVERIES} earlier deliveries still hang"):
        sender.send(message)
    transport.released.set()
    transport.stuck = ""
    while True:
        try:
            sender.send(message)
            break
        except DeliveryError:
            continue
    assert transport.sent == ["k"]


def test_a_courier_that_ends_leaves_what_hangs_to_whoever_leads_next(context: AppContext) -> None:
    with_channels(context, THREE)
    patient = context.replace(settings=context.settings.model_copy(update={"delivery_timeout_seconds": 3600.0}))
    with peer(answering(b"HTTP/1.1 200 OK\r\nX: ")) as (port, stubborn):
        with_channels(patient, {"stuck": CHANNELS["slack"].replace("PORT", str(port))})
        post(patient, "stuck")
        sender = create_dispatcher(patient)
        sender.start_workers()
        while not stubborn.sent:
            stubborn.ended.wait(0.01)
        sender.close(0)
        assert stubborn.was_cut()
    [message] = notices(patient)
    assert (message.state, message.attempts, message.last_error) == ("waiting", 0, None)


def test_what_no_transport_can_send_is_put_off_like_any_other(context: AppContext) -> None:
    with_channels(context, THREE)
    message = post(context, "a")
    with context.database.write() as connection:
        outbox.schedule_retry(
            connection,
            outbox.OutboxMessage(**{**vars(message), "payload": {"type": "slack"}}),
            "x",
            RetryPolicy(9, {"critical": timedelta(1)}),
            context.clock(),
        )
    tick(context, minutes=1)
    assert create_dispatcher(context).dispatch_due() == {"delivered": 0, "waiting": 1, "failed": 0}
    assert notices(context)[0].last_error == "it cannot be sent: KeyError"


# --- what receivers ask for


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("", "", None),
        ("soon", "", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("0", "", 0),
        ("120", "", 120),
        (" 7 ", "", 7),
        ("9" * 5000, "", 3600),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), "", 120),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), "", 0),
        ("Thu, 01 Jan 2026 09:02:00 GMT", "Thu, 01 Jan 2026 09:00:00 GMT", 120),
        ("Thu, 01 Jan 2026 12:02:00 GMT", "never", 120),
        ("Thu, 99 Jan 2026 12:02:00 GMT", "", None),
        ("Thu, 01 Jan 99999 12:02:00 GMT", "", None),
    ],
)
def test_a_wait_is_read_in_seconds_or_as_a_date(retry_after: str, date: str, seconds: int | None) -> None:
    found = parse_retry_after(retry_after, date, NOW)
    assert found == (None if seconds is None else timedelta(seconds=seconds))


class Busy:
    """A receiver in memory that asks to be left alone until it is free."""

    def __init__(self, status: int, retry_after: str) -> None:
        self.status, self.retry_after = status, retry_after
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers["idempotency-key"])
        headers = {"retry-after": self.retry_after} if self.retry_after else {}
        return httpx.Response(self.status, headers=headers)


def talks_to(context: AppContext, receiver: Callable[[httpx.Request], httpx.Response]) -> OutboxDispatcher:
    return create_dispatcher(context, create_delivery(context, httpx.Client(transport=httpx.MockTransport(receiver))))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("kind", ["slack", "webhook", "alertmanager"])
def test_a_busy_receiver_is_left_alone_as_long_as_it_asks_and_no_try_is_spent(
    context: AppContext, status: int, kind: str
) -> None:
    with_channels(context, {"it": CHANNELS[kind].replace("PORT", "1")})
    receiver = Busy(status, "300")
    sender = talks_to(context, receiver)
    post(context, "it", "first")
    post(context, "it", "second")
    for _ in range(12):
        for _ in range(5):
            sender.dispatch_due()
            tick(context, seconds=60)
    assert receiver.asked == ["first"] * 12
    assert {each.attempts for each in notices(context)} == {0}
    receiver.status = 200
    assert sender.dispatch_due()["delivered"] == 2


def test_another_channel_is_not_held_by_it(context: AppContext) -> None:
    with_channels(context, THREE)
    receiver = Busy(429, "300")
    sender = talks_to(context, receiver)
    post(context, "a", "one")
    sender.dispatch_due()
    post(context, "b", "two")
    sender.dispatch_due()
    assert receiver.asked == ["one", "two"]


def test_a_refusal_without_a_wish_and_a_wish_without_a_refusal_are_as_before(context: AppContext) -> None:
    with_channels(context, THREE)
    receiver = Busy(429, "")
    sender = talks_to(context, receiver)
    post(context, "a")
    sender.dispatch_due()
    receiver.status, receiver.retry_after = 500, "300"
    tick(context, seconds=2)
    sender.dispatch_due()
    [message] = notices(context)
    assert (message.attempts, message.next_attempt_at) == (2, context.clock() + timedelta(seconds=4))


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_an_outage_of_a_day_is_outlived_by_what_is_critical(context: AppContext, severity: str) -> None:
    with_channels(context, THREE)
    receiver = Busy(500, "")
    sender = talks_to(context, receiver)
    post(context, "a", severity=severity)
    for _ in range(26 * 4):
        sender.dispatch_due()
        tick(context, minutes=15)
    [message] = notices(context)
    assert message.state == ("waiting" if severity == "critical" else "failed")
    receiver.status = 200
    assert sender.dispatch_due()["delivered"] == (severity == "critical")


def test_a_clock_set_back_delays_no_notice_and_one_set_forward_gives_none_up(
    context: AppContext, caplog: pytest.LogCaptureFixture
) -> None:
    with_channels(context, THREE)
    receiver = Busy(500, "")
    sender = talks_to(context, receiver)
    post(context, "a")
    tick(context, days=4000)
    sender.dispatch_due()
    assert notices(context)[0].state == "waiting"
    tick(context, days=-4000)
    sender.dispatch_due()
    tick(context, seconds=2)
    receiver.status = 200
    assert sender.dispatch_due()["delivered"] == 1
    assert [record.levelname for record in caplog.records if "clock went back" in record.message] == ["WARNING"]


@pytest.mark.parametrize("back", [{"seconds": -90}, {"minutes": -10}, {"hours": -2}])
def test_whatever_the_step_the_next_try_comes_as_soon_as_it_would_have(
    context: AppContext, back: dict[str, float]
) -> None:
    with_channels(context, THREE)
    receiver = Busy(500, "")
    sender = talks_to(context, receiver)
    post(context, "a", "before")
    sender.dispatch_due()
    tick(context, **back)
    post(context, "b", "after")
    sender.dispatch_due()
    tick(context, seconds=3)
    sender.dispatch_due()
    assert receiver.asked.count("before") >= 2
    assert "after" in receiver.asked


# --- proxies


def proxied(
    context: AppContext, url: str, proxy: str, allowed: tuple[str, ...] = ()
) -> tuple[AppContext, Transport, list[str], list[str]]:
    """A transport with a proxy in memory: what went directly, and what through it."""
    directly, through = list[str](), list[str]()

    def taking(into: list[str]) -> httpx.Client:
        def take(request: httpx.Request) -> httpx.Response:
            into.append(str(request.url))
            return httpx.Response(200)

        return httpx.Client(transport=httpx.MockTransport(take))

    settings = context.settings.model_copy(update={"delivery_proxy": proxy, "allowed_receivers": allowed})
    made = context.replace(settings=settings)
    with_channels(made, {"it": f'type: slack, url: "{url}"'})
    return made, create_transport(made, taking(directly), taking(through)), directly, through


@pytest.mark.parametrize(
    ("url", "allowed", "way"),
    [
        ("http://8.8.8.8/x", (), "through"),
        ("http://no-such-name.invalid/x", (), "through"),
        ("http://8.8.8.8/x", ("8.8.8.8",), "directly"),
        ("http://10.1.2.3/x", ("10.0.0.0/8",), "directly"),
        ("http://Chat.internal/x", ("chat.internal",), "directly"),
    ],
)
def test_with_a_proxy_receivers_that_a_setting_names_are_reached_directly_and_others_through_it(
    context: AppContext, url: str, allowed: tuple[str, ...], way: str
) -> None:
    proxied_context, sender, directly, through = proxied(context, url, "http://proxy.invalid:3128", allowed)
    sender.send(post(proxied_context, "it"))
    assert (len(directly), len(through)) == ((1, 0) if way == "directly" else (0, 1))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://localhost/x", "http://169.254.169.254/x", "http://127.1/"]
)
def test_a_proxy_is_sent_to_no_address_inside(context: AppContext, url: str) -> None:
    proxied_context, sender, directly, through = proxied(context, url, "http://proxy.invalid:3128")
    with pytest.raises(DeliveryError, match="is no public address"):
        sender.send(post(proxied_context, "it"))
    assert (directly, through) == ([], [])


def test_no_proxy_of_the_environment_sees_a_notice(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: Peer, connection: socket.socket) -> None:
        self.request(connection)
        self.send(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with peer(take) as (port, _), peer(take) as (other, proxy):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{other}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for place, channel in enumerate(HTTP):
            with_channels(context, {"it": CHANNELS[channel].replace("PORT", str(port))})
            post(context, "it", f"k{place}")
        patient = context.replace(settings=context.settings.model_copy(update={"delivery_timeout_seconds": 30.0}))
        for place, channel in enumerate(HTTP):
            with_channels(patient, {"it": CHANNELS[channel].replace("PORT", str(port))})
            message = next(each for each in notices(context) if each.idempotency_key == f"k{place}")
            create_transport(patient).send(message)
        assert proxy.connections == 0


def test_a_notice_names_its_identity_to_every_receiver(context: AppContext) -> None:
    heard = list[bytes]()

    def take(self: Peer, connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        self.send(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with peer(take) as (port, _):
        with_channels(context, {"it": CHANNELS["alertmanager"].replace("PORT", str(port))})
        create_delivery(context).send(post(context, "it", "identity"))
    assert b"idempotency-key: identity" in heard[0].lower()
    assert json.loads(heard[0].partition(b"\r\n\r\n")[2] or b"{}") in ({"blocks": []}, {})
