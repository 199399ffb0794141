"""Work that talks to others ends with its time, whatever the peer or the library does."""

import http.client
import smtplib
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable

import httpx
import pytest

from mlplatform.network.deadline import (
    Cancellation,
    DeadlineError,
    DeadlineTask,
    current_cancellation,
    run_with_deadline,
)
from tests.support.stubborn_peers import Peer, answering, peer

SECONDS = 0.3
HEAD = b"HTTP/1.1 200 OK\r\nX: "
OPENINGS = {"TLS": b"\x16\x03\x03\x3f\xff", "smtplib": b"2"}
DRIPS = answering(HEAD)
FLOODS = {
    "httpx": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "http.client": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "smtplib": (b"", b"220-\r\n"),
}
CLIENTS: dict[str, Callable[[int], object]] = {
    "httpx": lambda port: httpx.get(f"http://127.0.0.1:{port}/", timeout=30, trust_env=False),
    "urllib": lambda port: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read(),
    "http.client": lambda port: plainly(port),
    "TLS": lambda port: httpx.get(f"https://127.0.0.1:{port}/", timeout=30, trust_env=False),
    "smtplib": lambda port: smtplib.SMTP("127.0.0.1", port, timeout=30),
    "smtplib over TLS": lambda port: smtplib.SMTP_SSL(
        "127.0.0.1", port, timeout=30, context=ssl.create_default_context()
    ),
}

KEPT = [
    (behaviour, client)
    for behaviour in ("silent", "dripping", "flooding")
    for client in (FLOODS if behaviour == "flooding" else CLIENTS)
]


def plainly(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
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


@pytest.mark.timeout(60)
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
        with pytest.raises(DeadlineError, match=r"no end within 0\.3 s"):
            work.result(SECONDS)
        assert stubborn.cut.wait(20)
        while work.is_running:  # the peer sees the cut before the library has raised what it means; the test has an end
            time.sleep(0.01)


@pytest.mark.timeout(60)
def test_work_that_nothing_can_end_is_left_behind_and_connects_nowhere_later() -> None:
    released, late = threading.Event(), list[BaseException]()

    def looks_up_a_name(port: int) -> None:
        released.wait(30)  # as a system call that is not to be interrupted
        try:
            socket.create_connection(("127.0.0.1", port), 5)
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


def test_other_threads_are_free() -> None:
    with peer(lambda self, connection: self.send(connection, b"hello")) as (port, _):
        with pytest.raises(DeadlineError):
            run_with_deadline(0, lambda: threading.Event().wait(0.2))
        with socket.create_connection(("127.0.0.1", port), 5) as free:
            assert free.recv(5) == b"hello"
