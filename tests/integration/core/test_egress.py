"""Notices go to public addresses and allowed ones only, whatever a name resolves to and wherever it redirects."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from mlplatform.alerting.channels.apprise_sender import send_apprise
from mlplatform.errors import DeliveryError, SettingsError
from mlplatform.network.connections import open_connection
from mlplatform.network.egress import EgressDeniedError, EgressPolicy, egress_policy
from mlplatform.network.http_clients import create_egress_client

NOTHING = EgressPolicy()


@contextmanager
def listening(location: str = "") -> Iterator[tuple[int, list[str]]]:
    """A web server on loopback, with the paths it was asked for; it may send people elsewhere."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(307 if location else 200)
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "168.63.129.16", "::1", "::", "fe80::1%eth0", "fd00:ec2::254"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
        *("192.0.0.192", "fec0::1", "::8.8.8.8", "64:ff9b:1::8.8.8.8", "3fff::1", "5f00::1", "2001:db8::1", "100::1"),
        *("", "localhost", "/run/socket"),
    ],
)
def test_addresses_inside_are_refused(address: str) -> None:
    assert not NOTHING.permits(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert NOTHING.permits(address)


def test_an_allowed_ipv6_network_opens_no_ipv4_address_inside() -> None:
    allowed = egress_policy(("64:ff9b::/96", "::ffff:0:0/96", "2002::/16", "fd12::/16"))
    assert allowed.permits("fd12::1")
    for inside in ("64:ff9b::127.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::"):
        assert not allowed.permits(inside)


def test_networks_addresses_and_names_may_be_allowed() -> None:
    allowed = egress_policy(("10.0.0.0/8", "192.168.1.7", "localhost", "no-such-name.invalid"))
    assert allowed.permits("10.200.0.1")
    assert allowed.permits("192.168.1.7")
    assert not allowed.permits("192.168.1.8")
    assert allowed.permits("127.0.0.1")
    assert not allowed.permits("169.254.169.254")


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "10.0.0.0/99", "", "host:80", "http://host"])
def test_what_is_neither_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(SettingsError, match="PLATFORM_ALLOWED_RECEIVERS"):
        egress_policy((wrong,))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_client_connects_to_no_address_inside_however_it_is_written(host: str) -> None:
    with listening() as (port, asked), create_egress_client(5.0, NOTHING) as client:
        with pytest.raises(EgressDeniedError, match="is no public address; PLATFORM_ALLOWED_RECEIVERS"):
            client.post(f"http://{host}:{port}/")
        assert asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_a_connection_goes_to_no_address_inside_however_it_is_written(host: str) -> None:
    with listening() as (port, _), pytest.raises(EgressDeniedError, match="is no public address"):
        open_connection(host, port, 5.0, NOTHING)


def test_an_allowed_one_is_reached_and_sends_nobody_inside() -> None:
    with listening() as (inner, asked), listening(f"http://localhost:{inner}/inside") as (port, outer):
        with create_egress_client(5.0, egress_policy(("127.0.0.2",))) as client, pytest.raises(EgressDeniedError):
            client.post(f"http://127.0.0.1:{port}/", follow_redirects=True)
        assert (asked, outer) == ([], [])
        with create_egress_client(5.0, egress_policy(("127.0.0.1",))) as client:
            assert client.post(f"http://127.0.0.1:{port}/").status_code == 307
        assert outer == ["/"]


def test_a_redirect_inside_is_not_followed_there() -> None:
    with listening() as (inner, asked), listening(f"http://127.0.0.2:{inner}/inside") as (port, outer):
        with (
            create_egress_client(5.0, egress_policy(("127.0.0.1",))) as client,
            pytest.raises(EgressDeniedError, match=r"127\.0\.0\.2 is no public address"),
        ):
            client.post(f"http://127.0.0.1:{port}/", follow_redirects=True)
        assert (asked, outer) == ([], ["/"])


def test_the_checked_address_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to a public address when it is checked and to loopback a moment later (DNS rebinding)."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    dialled = stub_network(monkeypatch, lambda: [next(answers)])
    with create_egress_client(5.0, NOTHING) as client, pytest.raises(httpx.ConnectError):
        client.post("http://rebinding.test/")
    assert dialled == ["8.8.8.8"]


def test_of_a_names_addresses_only_the_allowed_ones_are_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = stub_network(monkeypatch, lambda: ["10.0.0.1", "1.1.1.1", "169.254.169.254", "8.8.8.8"])
    with pytest.raises(EgressDeniedError, match=r"10\.0\.0\.1 is no public address"):
        open_connection("mixed.test", 80, 5.0, NOTHING)
    assert dialled == ["1.1.1.1", "8.8.8.8"]


def stub_network(monkeypatch: pytest.MonkeyPatch, addresses: Callable[[], list[str]]) -> list[str]:
    """Every name resolves to these addresses, of which none answers; returns what is dialled."""
    dialled = list[str]()

    def lookup(_host: str, port: object, *_args: object, **_more: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses()]

    def dial(address: tuple[str, int], *_args: object, **_more: object) -> socket.socket:
        dialled.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", dial)
    return dialled


def test_a_name_nobody_knows_is_a_failed_connection() -> None:
    with create_egress_client(5.0, NOTHING) as client, pytest.raises(httpx.ConnectError):
        client.post("http://no-such-name.invalid/")


def test_a_library_that_sends_from_a_thread_of_its_own_is_held_to_it() -> None:
    message = {"title": "t", "body": "b", "type": "info"}
    with listening() as (port, asked):
        with pytest.raises(DeliveryError, match=r"127\.0\.0\.1 is no public address"):
            send_apprise(f"json://127.0.0.1:{port}/", message, 5.0, NOTHING)
        assert asked == []
        send_apprise(f"json://127.0.0.1:{port}/", message, 5.0, egress_policy(("127.0.0.1",)))
        assert len(asked) == 1
