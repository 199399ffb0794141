"""Peers that keep whoever talks to them: they drip, say nothing, answer without end. On loopback, ended with a test."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[["Peer", socket.socket], None]
PAUSE = 0.02


@dataclass
class Peer:
    """A server whose behaviour towards one connection is given; it ends with the test."""

    behaviour: Behaviour
    ended: threading.Event = field(default_factory=threading.Event)
    cut: threading.Event = field(default_factory=threading.Event)
    """Somebody who was kept has gone."""
    connections: int = 0
    sent: int = 0

    def was_cut(self, seconds: float = 60.0) -> bool:
        """Whether whoever was kept has gone, or never came: a slow machine may not get that far in the time given."""
        return not self.connections or self.cut.wait(seconds)

    def drip(self, connection: socket.socket, first: bytes = b"", piece: bytes = b"x") -> None:
        """Send something, then a piece now and then for ever."""
        self.send(connection, first)
        while not self.ended.wait(PAUSE):
            self.send(connection, piece)

    def flood(self, connection: socket.socket, first: bytes, piece: bytes) -> None:
        """Send something, then pieces without end."""
        self.send(connection, first)
        while not self.ended.is_set():
            self.send(connection, piece)

    def silence(self, connection: socket.socket) -> None:
        """Send nothing, and wait for the other to go."""
        connection.settimeout(PAUSE)
        while not self.ended.is_set():
            with suppress(TimeoutError):
                if not connection.recv(65536):
                    raise ConnectionResetError

    def send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.sent += len(data)

    def receive(self, connection: socket.socket) -> bytes:
        """What comes next; raises ConnectionResetError where the other end has closed."""
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError
        return data

    def request(self, connection: socket.socket) -> None:
        """Read an HTTP request: its head, and as many bytes as it names."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.receive(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        left = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
        while left > 0:
            left -= len(self.receive(connection))

    def serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.behaviour(self, connection)
            except OSError:
                self.cut.set()


@contextmanager
def peer(behaviour: Behaviour, host: str = "127.0.0.1") -> Iterator[tuple[int, Peer]]:
    """Run one on this machine; yields its port."""
    made, listener = Peer(behaviour), socket.create_server((host, 0))
    listener.settimeout(PAUSE)

    def accept() -> None:
        while not made.ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(30)
                made.connections += 1
                threading.Thread(target=made.serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], made
    finally:
        made.ended.set()
        thread.join()
        listener.close()


def answering(first: bytes) -> Behaviour:
    """Reads a request, then drips after these bytes."""
    return after_a_request(first, b"x")


def flooding(first: bytes, piece: bytes) -> Behaviour:
    """Reads a request, then answers without end."""

    def behave(self: Peer, connection: socket.socket) -> None:
        self.request(connection)
        self.flood(connection, first, piece)

    return behave


def after_a_request(first: bytes, piece: bytes) -> Behaviour:
    """Reads a request, then drips such pieces."""

    def behave(self: Peer, connection: socket.socket) -> None:
        self.request(connection)
        self.drip(connection, first, piece)

    return behave


def after_a_line(first: bytes) -> Behaviour:
    """Reads something, then drips after these bytes."""

    def behave(self: Peer, connection: socket.socket) -> None:
        connection.recv(99)
        self.drip(connection, first)

    return behave


def lines(*said: bytes, then: Behaviour) -> Behaviour:
    """Speaks a protocol of lines, one for each line it is told, and then behaves as given; a greeting comes first."""

    def behave(self: Peer, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        for number, line in enumerate(said):
            if number and not reader.readline():
                raise ConnectionResetError
            self.send(connection, line)
        then(self, connection)

    return behave
