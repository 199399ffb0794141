"""A TCP door to a server that can be shut or fall silent: what is away when a database is away."""

import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class TcpProxy:
    """Forwards connections from a local port to another address while it is open."""

    host: str
    port: int
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: bool = True
    _closed: bool = False
    _speaks: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._speaks.set()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def local_port(self) -> int:
        """Where clients connect."""
        found: int = self._listener.getsockname()[1]
        return found

    def shut(self) -> None:
        """Cut every connection and refuse new ones."""
        with self._lock:
            self._open = False
            self._cut()

    def reopen(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._open = True

    def fall_silent(self) -> None:
        """Pass nothing on, and cut nothing: the system still takes what is sent, as for a process that is stopped."""
        self._speaks.clear()

    def speak(self) -> None:
        """Pass on again, what came meanwhile too."""
        self._speaks.set()

    def close(self) -> None:
        """End the door for good."""
        self._speaks.set()
        with self._lock:
            self._closed, self._open = True, False
            self._cut()
        self._listener.close()

    def _cut(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _listen(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._open:
                    client.close()
                    continue
                server = socket.create_connection((self.host, self.port))
                self._pairs.append((client, server))
            threading.Thread(target=_forward, args=(client, server, self._speaks), daemon=True).start()


def _forward(client: socket.socket, server: socket.socket, speaks: threading.Event) -> None:
    other = {client: server, server: client}
    with selectors.DefaultSelector() as ready, client, server:
        for end in other:
            ready.register(end, selectors.EVENT_READ)
        with suppress(OSError):
            while True:
                for key, _ in ready.select():
                    readable = key.fileobj
                    assert isinstance(readable, socket.socket)
                    data = readable.recv(65536)
                    speaks.wait()
                    if not data:
                        return
                    other[readable].sendall(data)
