"""Attacks that hold what a connection holds: its place, its time, its memory."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from benchmarks.attacks.target import Target, head, request

MEGABYTE: Final = b"x" * 2**20
LARGE_FILE: Final = "/static-offline-docs/redoc.standalone.js"


def idle_connections(target: Target) -> None:
    """600 connections that say nothing."""
    with target.many(600):
        target.rest()


def kept_alive(target: Target) -> None:
    """600 connections that asked once and stay."""
    with target.many(600) as opened:
        for each in opened:
            with suppress(OSError):
                each.sendall(head("GET", "/healthz", {}))
        target.rest()


def churn(target: Target) -> None:
    """Connections made and left again, as fast as one can."""
    target.again_and_again(lambda: target.connect().close(), threads=2)


def dripping_headers(target: Target) -> None:
    """300 requests whose headers come byte by byte."""
    _drip(target, b"GET /healthz HTTP/1.1\r\nhost: a\r\n", b"a")


def dripping_bodies(target: Target) -> None:
    """300 requests whose bodies come byte by byte."""
    start = head("POST", "/v1/predict", {"content-type": "application/json", "content-length": "100000"})
    _drip(target, start, b" ")


def _drip(target: Target, start: bytes, byte: bytes) -> None:
    with target.many(300) as opened:
        for each in opened:
            with suppress(OSError):
                each.sendall(start)
        while not target.over:
            for each in opened:
                with suppress(OSError):
                    each.sendall(byte)
            time.sleep(0.2)


def half_sent_bodies(target: Target) -> None:
    """100 bodies of 8 MB that stop before their end, made anew where they are refused."""

    def once() -> None:
        with target.connect() as opened:
            start = head("POST", "/v1/predict", {"content-type": "application/json", "content-length": str(8 * 2**20)})
            with suppress(OSError):
                opened.sendall(start)
                for _ in range(7):
                    opened.sendall(MEGABYTE)
                opened.settimeout(max(0.1, target.until - time.monotonic()))
                opened.recv(1000)

    target.again_and_again(once, threads=100)


def expecting(target: Target) -> None:
    """300 requests that ask whether they may go on, and do not."""
    wanted = {"expect": "100-continue", "content-length": "100000", "content-type": "application/json"}
    with target.many(300) as opened:
        for each in opened:
            with suppress(OSError):
                each.sendall(head("POST", "/v1/predict", wanted))
        target.rest()


def unread_answers(target: Target) -> None:
    """30 clients that ask for much, again and again, and read nothing."""
    with target.many(30) as opened:
        for each in opened:
            with suppress(OSError):
                each.sendall(head("GET", LARGE_FILE, {}) * 16)
        target.rest()


def large_unread_answers(target: Target) -> None:
    """30 clients that do not read the answer to 256 pictures."""
    body = b'{"images": [' + b",".join([b'"' + _png() + b'"'] * 256) + b"]}"
    asked = request("POST", "/v1/predict", {"content-type": "application/json"}, body)
    with target.many(30) as opened:
        for each in opened:
            with suppress(OSError):
                each.sendall(asked)
        target.rest()


def _png() -> bytes:
    import base64

    import numpy as np

    from pipelines.image.grey_png import encode_png

    return base64.b64encode(encode_png(np.zeros((28, 28), dtype=np.uint8)))


ATTACKS: Final[dict[str, Callable[[Target], None]]] = {
    "idle_connections": idle_connections,
    "kept_alive": kept_alive,
    "churn": churn,
    "dripping_headers": dripping_headers,
    "dripping_bodies": dripping_bodies,
    "half_sent_bodies": half_sent_bodies,
    "expecting": expecting,
    "unread_answers": unread_answers,
    "large_unread_answers": large_unread_answers,
}
