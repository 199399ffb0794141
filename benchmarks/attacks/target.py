"""The server that is attacked, and sockets for those who keep to no protocol; it knows no attack."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Target:
    """Where it listens, the home folder whose store it shares, and when the attack ends (monotonic clock)."""

    port: int
    home: Path
    until: float

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.until

    def connect(self) -> socket.socket:
        """A connection, small in what the system keeps for it; raises OSError where there is none."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        opened.settimeout(2)
        return opened

    @contextmanager
    def many(self, count: int) -> Iterator[list[socket.socket]]:
        """As many connections as can be had of so many."""
        opened: list[socket.socket] = []
        try:
            for _ in range(count):
                if self.over:
                    break
                with suppress(OSError):
                    opened.append(self.connect())
            yield opened
        finally:
            for each in opened:
                each.close()

    def rest(self) -> None:
        """Wait until the time is up."""
        time.sleep(max(0.0, self.until - time.monotonic()))

    def again_and_again(self, once: Callable[[], object], threads: int = 1) -> None:
        """Do it until the time is up, whatever comes of it, from so many threads."""

        def repeat(_: int) -> None:
            while not self.over:
                try:
                    once()
                except OSError:
                    time.sleep(PAUSE_SECONDS)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(repeat, range(threads)))

    def say(self, pieces: Iterable[bytes]) -> bytes:
        """Send these on a connection of their own while the server lets us; returns the beginning of its answer."""
        with self.connect() as opened:
            with suppress(OSError):
                for piece in pieces:
                    if self.over:
                        break
                    opened.sendall(piece)
            with suppress(OSError):
                opened.settimeout(max(0.1, min(30.0, self.until - time.monotonic())))
                return opened.recv(65536)
        return b""

    def post(self, path: str, body: bytes, kind: str = "application/json", **more: str) -> bytes:
        """One whole request; returns the beginning of its answer."""
        return self.say([request("POST", path, {"content-type": kind, **more}, body)])


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """A request's line and headers."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A whole request."""
    return head(method, path, {**headers, "content-length": str(len(body))}) + body
