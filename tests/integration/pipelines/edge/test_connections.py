"""A server of few threads: connections end when their time is up, and the one that waited longest makes room."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler

import pytest

from pipelines.edge.bounded_server import MAX_CONNECTIONS, REQUEST_SECONDS, BoundedServer

ASKED = b"GET / HTTP/1.1\r\n\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Handler(BaseHTTPRequestHandler):
    """Answers "yes"; while `working`, only when it is let."""

    protocol_version = "HTTP/1.1"
    server: BoundedServer

    def handle_one_request(self) -> None:
        self.server.mark_connection(self.connection, busy=False)
        super().handle_one_request()

    def do_GET(self) -> None:
        self.server.mark_connection(self.connection, busy=True)
        if self.path == "/slow":
            entered.release()
            assert let.wait(30)
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"yes")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


entered, let = threading.Semaphore(0), threading.Event()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test leaves open, however it ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[BoundedServer]:
    let.clear()
    made = BoundedServer(("127.0.0.1", 0), Handler, "", clock)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    let.set()
    made.shutdown()
    made.server_close()
    thread.join()


def connected(server: BoundedServer, sent: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
    made.sendall(sent)
    return made


def ended(connection: socket.socket) -> bool:
    """Whether the other end has hung up; waits for it."""
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


def answered(connection: socket.socket) -> bool:
    """Whether a whole answer comes."""
    said = b""
    while not said.endswith(b"yes"):
        part = connection.recv(4096)
        if not part:
            return False
        said += part
    return b" 200 " in said


def threads_of(server: BoundedServer) -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nx: y\r\n"])
def test_a_connection_that_sends_half_a_request_or_none_is_closed_in_time(
    server: BoundedServer, clock: Clock, sent: bytes
) -> None:
    with connected(server, ASKED) as connection:
        assert answered(connection)
        connection.sendall(sent)
        connection.settimeout(0.2)
        for _ in range(100):  # the server may begin to wait only after the clock has moved
            clock.now += REQUEST_SECONDS + 1
            with suppress(TimeoutError):
                assert ended(connection)
                return
        pytest.fail("the connection is still open")


def test_idle_connections_make_room_and_never_hold_more_than_their_threads(
    server: BoundedServer, opened: ExitStack
) -> None:
    idle = [opened.enter_context(connected(server)) for _ in range(3 * MAX_CONNECTIONS)]
    with connected(server, ASKED) as honest:
        assert answered(honest)
    deadline = time.monotonic() + 20
    while threads_of(server) > MAX_CONNECTIONS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [ended(each) for each in idle[:MAX_CONNECTIONS]] == [True] * MAX_CONNECTIONS


def test_connections_that_are_being_answered_are_not_given_up_for_new_ones(
    server: BoundedServer, opened: ExitStack
) -> None:
    busy = [opened.enter_context(connected(server, b"GET /slow HTTP/1.1\r\n\r\n")) for _ in range(MAX_CONNECTIONS)]
    for _ in busy:
        assert entered.acquire(timeout=20)
    with connected(server) as turned_away:
        assert ended(turned_away)
    let.set()
    for each in busy:
        assert answered(each)


def test_a_key_opens_and_another_does_not() -> None:
    made = BoundedServer(("127.0.0.1", 0), Handler, "secret", time.monotonic)
    assert made.accepts_key("secret")
    assert [made.accepts_key(key) for key in ("", "Secret", "sécret", "secret ")] == [False] * 4
    made.server_close()
