"""Work that talks to others ends with its time, whatever the peer or the library on top of its connection does."""

import gc
import http.client
import smtplib
import socket
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator

import pytest

from mlplatform.alerting.channels.smtp import connect
from mlplatform.network.connections import open_connection
from mlplatform.network.deadline import (
    Cancellation,
    DeadlineError,
    DeadlineTask,
    current_cancellation,
    run_with_deadline,
)
from mlplatform.network.egress import ANY_ADDRESS
from mlplatform.network.http_clients import create_egress_client
from monitors.rules.channel_config import EmailChannel
from tests.support.stubborn_peers import Peer, answering, peer
from tests.support.waiting import eventually

SECONDS = 0.3
HEAD = b"HTTP/1.1 200 OK\r\nX: "
OPENINGS = {"TLS": b"\x16\x03\x03\x3f\xff", "smtplib": b"2"}
DRIPS = answering(HEAD)
FLOODS = {
    "httpx": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "http.client": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "smtplib": (b"", b"220-\r\n"),
}
HTTP = create_egress_client(30, ANY_ADDRESS)
CLIENTS: dict[str, Callable[[int], object]] = {
    "httpx": lambda port: HTTP.get(f"http://127.0.0.1:{port}/"),
    "urllib": lambda port: through_urllib(port),
    "http.client": lambda port: plainly(port),
    "TLS": lambda port: HTTP.get(f"https://127.0.0.1:{port}/"),
    "smtplib": lambda port: OpenedSmtp("127.0.0.1", port),
    "smtplib over TLS": lambda port: connect(relay(port), 30, ANY_ADDRESS),
}


@pytest.fixture(autouse=True, scope="module")
def leftovers() -> Iterator[None]:
    """Libraries whose connection was cut may leave its socket to the garbage: that is no fault of a later test's."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def relay(port: int) -> EmailChannel:
    server = {"host": "127.0.0.1", "port": port, "tls": "implicit"}
    return EmailChannel.model_validate({"type": "email", "sender": "a@b.c", "to": ["d@e.f"], **server})


class OpenedSmtp(smtplib.SMTP):
    """The standard library's client, whose answers have no bound, over a connection of ours."""

    def _get_socket(self, host: str, port: int, _timeout: float) -> socket.socket:
        return open_connection(host, port, 30, ANY_ADDRESS)


class OpenedConnection(http.client.HTTPConnection):
    """The standard library's client over a connection of ours."""

    def connect(self) -> None:
        self.sock = open_connection(self.host, self.port, 30, ANY_ADDRESS)


class OpenedHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(OpenedConnection, request)


def through_urllib(port: int) -> bytes:
    opener = urllib.request.build_opener(OpenedHandler, urllib.request.ProxyHandler({}))
    body: bytes = opener.open(f"http://127.0.0.1:{port}/", timeout=30).read()
    return body


KEPT = [
    (behaviour, client)
    for behaviour in ("silent", "dripping", "flooding")
    for client in (FLOODS if behaviour == "flooding" else CLIENTS)
]


def plainly(port: int) -> bytes:
    connection = OpenedConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    return connection.getresponse().read()


def test_work_in_time_returns_and_raises_as_it_does() -> None:
    assert run_with_deadline(30, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        run_with_deadline(30, lambda: 1 / 0)
    with pytest.raises(TimeoutError, match="its own") as caught:
        run_with_deadline(30, _raise_timeout)
    assert not isinstance(caught.value, DeadlineError)


def _raise_timeout() -> None:
    raise TimeoutError("its own")


@pytest.mark.parametrize(("behaviour", "client"), KEPT)
def test_a_peer_that_keeps_a_client_is_cut_off_in_every_library(client: str, behaviour: str) -> None:
    def silent(self: Peer, connection: socket.socket) -> None:
        self.silence(connection)

    def dripping(self: Peer, connection: socket.socket) -> None:
        self.drip(connection, next((first for name, first in OPENINGS.items() if name in client), HEAD))

    def flooding(self: Peer, connection: socket.socket) -> None:
        first, piece = FLOODS[client]
        self.flood(connection, first, piece * 100)

    with peer({"silent": silent, "dripping": dripping, "flooding": flooding}[behaviour]) as (port, stubborn):
        work = DeadlineTask(lambda: CLIENTS[client](port), "kept")
        eventually(lambda: stubborn.connections, "the client's connection")
        with pytest.raises(DeadlineError, match=r"no end within 0\.3 s"):
            work.result(SECONDS)
        assert stubborn.was_cut()
        while work.is_running:  # the peer sees the cut before the library has raised what it means; the test has an end
            time.sleep(0.01)


def test_work_that_nothing_can_end_is_left_behind_and_connects_nowhere_later() -> None:
    released, late = threading.Event(), list[BaseException]()

    def looks_up_a_name(port: int) -> None:
        released.wait(30)  # as a system call that is not to be interrupted
        try:
            open_connection("127.0.0.1", port, 5, ANY_ADDRESS)
        except OSError as error:
            late.append(error)

    with peer(DRIPS) as (port, stubborn):
        work = DeadlineTask(lambda: looks_up_a_name(port), "kept")
        with pytest.raises(DeadlineError):
            work.result(SECONDS)
        assert work.is_running
        released.set()
        with pytest.raises(DeadlineError):
            work.result(0)
        assert ["is over" in str(error) for error in late] == [True]
        assert stubborn.connections == 0


def test_what_was_done_but_for_its_goodbye_counts() -> None:
    ended = threading.Event()

    def job() -> str:
        with current_cancellation().on_cancel(ended.set):
            ended.wait(30)
        return "done"

    assert DeadlineTask(job, "late").result(SECONDS, accept_late=True) == "done"
    ended.clear()
    with pytest.raises(DeadlineError):
        run_with_deadline(SECONDS, job)


def test_ties_of_no_work_hold_nothing() -> None:
    with current_cancellation().on_cancel(lambda: pytest.fail("nobody ends it")):
        assert isinstance(current_cancellation(), Cancellation)


def test_a_connection_outside_of_any_work_is_nobodys_but_its_owners() -> None:
    with peer(lambda self, connection: self.silence(connection)) as (port, other):
        open_connection("127.0.0.1", port, 5, ANY_ADDRESS).close()
        assert other.was_cut()


def test_other_threads_are_free() -> None:
    with peer(lambda self, connection: self.send(connection, b"hello")) as (port, _):
        with pytest.raises(DeadlineError):
            run_with_deadline(0, lambda: threading.Event().wait(0.2))
        with socket.create_connection(("127.0.0.1", port), 5) as free:
            assert free.recv(5) == b"hello"
