"""An HTTP server for a device: few threads, and every connection ends in bounded time.

Needs the standard library alone, so that a device can have it.
"""

from __future__ import annotations

import hashlib
import hmac
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

MAX_CONNECTIONS: Final = 16
MAX_CONCURRENT_PREDICTIONS: Final = 2
"""So many requests are decoded and computed at a time; others wait for their turn."""
REQUEST_SECONDS: Final = 30.0
"""A connection is closed so long after it began to wait for a request, or to be answered."""


class BoundedServer(ThreadingHTTPServer):
    """Connections on a few threads, each closed when its time is up, whatever its other end does."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], key: str, clock: Callable[[], float]
    ) -> None:
        """Bind; an empty key means that none is asked for."""
        self.prediction_slots = threading.Semaphore(MAX_CONCURRENT_PREDICTIONS)
        self._clock, self._lock = clock, threading.Lock()
        self._key = hashlib.sha256(key.encode()).digest() if key else b""
        self._idle_since: dict[socket.socket, float] = {}
        self._busy_since: dict[socket.socket, float] = {}
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking the network for the address's name, as the base class would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def accepts_key(self, key: str) -> bool:
        """Whether a request with this key may come in."""
        return not self._key or hmac.compare_digest(hashlib.sha256(key.encode()).digest(), self._key)

    def mark_connection(self, connection: socket.socket, *, busy: bool) -> None:
        """A connection begins to wait for a request, or to be answered: its time starts anew."""
        with self._lock:
            if self._idle_since.pop(connection, self._busy_since.pop(connection, None)) is not None:
                (self._busy_since if busy else self._idle_since)[connection] = self._clock()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401, ARG002 - the base's types
        """Whether there is room for one more connection: the one that has waited longest makes it."""
        with self._lock:
            if len(self._idle_since) + len(self._busy_since) >= MAX_CONNECTIONS:
                if not self._idle_since:
                    return False
                oldest = min(self._idle_since, key=lambda each: self._idle_since[each])
                del self._idle_since[oldest]
                _shutdown_connection(oldest)
            self._idle_since[request] = self._clock()
        return True

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the base's type
        """A connection has ended."""
        with self._lock:
            self._idle_since.pop(request, None)
            self._busy_since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Between requests, hang up on those whose time is over; their threads then end."""
        with self._lock:
            for connection, since in [*self._idle_since.items(), *self._busy_since.items()]:
                if self._clock() - since > REQUEST_SECONDS:
                    _shutdown_connection(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base's types
        """A client that went away is nobody's fault."""


def _shutdown_connection(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def serve_until_signal(server: BoundedServer) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever()
    finally:
        server.server_close()
