"""Mail: encrypted as the channel says, each reader accepted or refused, and none of them told twice."""

import ipaddress
import shutil
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlplatform.alerting.channels.smtp import RefusedRecipientsError, send_mail
from mlplatform.alerting.dispatcher import create_dispatcher
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError
from mlplatform.host.processes import free_port
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.network.egress import ANY_ADDRESS, EgressPolicy
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from monitors.rules.channel_config import EmailChannel
from tests.support.monitoring_world import RULES, answer, notices, promote, rule, tick, with_rules
from tests.support.stubborn_peers import Peer, lines, peer


@dataclass
class Postbox:
    """Who got mail, and who is refused with which answer."""

    refusals: dict[str, str] = field(default_factory=dict)
    mails: list[tuple[str, ...]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Sequence[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        self.mails.append(tuple(envelope.rcpt_tos))
        return "250 OK"


@contextmanager
def post_office(
    refusals: dict[str, str] | None = None,
    implicit: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
) -> Iterator[tuple[int, Postbox]]:
    """A mail server on loopback."""
    box, port = Postbox(refusals or {}), free_port()
    server = Controller(box, hostname="127.0.0.1", port=port, ssl_context=implicit, tls_context=starttls)
    server.start()
    try:
        yield port, box
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for loopback that signs itself, and a server's side with it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(loopback, critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "pair.pem"
    plain, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, pkcs8, plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return file, context


def channel(port: int, **written: object) -> EmailChannel:
    values = {"type": "email", "host": "127.0.0.1", "port": port, "sender": "a@b.c", "to": ["d@e.f"]}
    return EmailChannel.model_validate({**values, **written})


def letter() -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = "it fell", "a@b.c", "d@e.f"
    made.set_content("It fell.")
    return made


def send(to: EmailChannel) -> None:
    send_mail(to, letter(), to.to, 10.0, ANY_ADDRESS)


@pytest.mark.parametrize(
    "written", [{"tls": "implicit"}, {"host": "smtps://127.0.0.1:PORT"}, {"tls": "implicit", "starttls": False}]
)
def test_tls_from_the_first_byte_is_spoken_to_who_is_trusted(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, written: dict[str, object]
) -> None:
    file, context = certificate
    with post_office(implicit=context) as (port, box):
        given = channel(port, **{key: str(text).replace("PORT", str(port)) for key, text in written.items()})
        with pytest.raises(DeliveryError, match="certificate"):
            send(given)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        send(given)
        assert box.mails == [("d@e.f",)]


def test_starttls_is_spoken_to_who_is_trusted_and_nothing_is_sent_without(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with post_office(starttls=context) as (port, box):
        send(channel(port))
        assert box.mails == [("d@e.f",)]
    with post_office() as (port, box):
        with pytest.raises(DeliveryError, match="STARTTLS"):
            send(channel(port))
        send(channel(port, starttls=False))
        send(channel(port, tls="none"))
        assert len(box.mails) == 2


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_server_where_the_policy_allows_no_connection_is_not_reached(tls: str) -> None:
    with peer(lambda self, connection: self.silence(connection)) as (port, server):
        with pytest.raises(DeliveryError, match=r"127\.0\.0\.1 is no public address"):
            send_mail(channel(port, tls=tls), letter(), ("d@e.f",), 10.0, EgressPolicy())
        assert server.connections == 0


def test_a_refused_reader_is_named_and_the_others_have_their_mail() -> None:
    with post_office({"x@y.z": "550 no such user"}) as (port, box):
        with pytest.raises(RefusedRecipientsError, match=r"x@y\.z: 550 no such user") as caught:
            send(channel(port, starttls=False, to=["d@e.f", "x@y.z"]))
        assert caught.value.recipients == ("x@y.z",)
        assert box.mails == [("d@e.f",)]


def test_where_all_are_refused_nobody_has_it() -> None:
    with post_office({"d@e.f": "451 later"}) as (port, box):
        with pytest.raises(DeliveryError, match="451") as caught:
            send(channel(port, starttls=False))
        assert not isinstance(caught.value, RefusedRecipientsError)
        assert box.mails == []


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"delivery_timeout_seconds": 20.0})


def written_for(context: AppContext, port: int, to: str) -> AppContext:
    rules = RULES.replace("port: 1,", f"port: {port},").replace("to: [a@example.org]", f"to: [{to}]")
    return with_rules(context, rules)


def test_only_the_refused_reader_is_tried_again_and_each_gets_one_mail(context: AppContext) -> None:
    with post_office({"b@example.org": "450 greylisted"}) as (port, box):
        promote(written_for(context, port, "a@example.org, b@example.org, c@example.org"))
        answer(context, 18, 12)
        only_mail = rule(context, "accuracy-drop").model_copy(update={"notify": ("mail",)})
        evaluate(context, only_mail, context.clock())
        sender = create_dispatcher(context)
        assert sender.dispatch_due()["waiting"] == 1
        tick(context, minutes=1)
        assert sender.dispatch_due()["waiting"] == 1
        assert box.mails == [("a@example.org", "c@example.org")]
        box.refusals.clear()
        tick(context, minutes=1)
        assert sender.dispatch_due()["delivered"] == 1
        assert box.mails == [("a@example.org", "c@example.org"), ("b@example.org",)]
    [message] = notices(context)
    assert (message.state, message.attempts) == ("delivered", 3)


def test_a_server_that_took_the_mail_and_never_says_goodbye_has_it_once() -> None:
    said = (b"220 hello\r\n", b"250 hello\r\n", b"250 sender\r\n", b"250 reader\r\n", b"354 go\r\n")
    with peer(lines(*said, then=took_it)) as (port, stubborn):
        send(channel(port, starttls=False))
        assert stubborn.was_cut()


def took_it(self: Peer, connection: socket.socket) -> None:
    """Read a mail, take it, and say nothing more."""
    data = b""
    while not data.endswith(b"\r\n.\r\n"):
        data += connection.recv(65536)
    self.send(connection, b"250 taken\r\n")
    self.silence(connection)


@pytest.fixture
def database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """An empty store."""
    path = tmp_path / "platform.db"
    shutil.copy(sqlite_template, path)
    made = Database(f"sqlite:///{path}")
    yield made
    made.close()
