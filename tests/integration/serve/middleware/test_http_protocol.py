"""What a client may take before it is understood, over a real socket: headers, times, chunks, pipelines, protocols."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.http1.http_protocol import (
    MAX_PIPELINED_REQUESTS,
    MAX_URL_BYTES,
    MIN_AVERAGE_CHUNK_BYTES,
    UNCHECKED_CHUNKS,
)
from tests.support.api_server import listening, loaded
from tests.support.platform_world import picture

PICTURE = json.dumps({"images": [picture(1).tolist()]}).encode()
POST = b"POST /v1/predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
PATIENT_SECONDS = 20
HURRIED = {"header_seconds": 0.6, "body_seconds": 0.6, "idle_seconds": 0.6, "answer_seconds": 0.6}


def with_settings(lite: AppContext, **changes: object) -> ApiServer:
    settings = lite.settings.model_copy(update={"allowed_hosts": (), **changes})
    made = lite.replace(settings=settings)
    server = build_server(made)
    server.model_slot.swap(loaded(1))
    return server


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENT_SECONDS) as opened:
        yield opened


def heard(opened: socket.socket) -> bytes:
    """Everything the server says until it closes; raises TimeoutError where it does not."""
    said = b""
    with suppress(ConnectionResetError):
        while part := opened.recv(65536):
            said += part
    return said


def told(address: str, *pieces: bytes) -> bytes:
    with connected(address) as opened:
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                opened.sendall(piece)
        return heard(opened)


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0


def alive(address: str) -> bool:
    return httpx.post(
        f"http://{address}/v1/predict", content=PICTURE, headers={"content-type": "application/json"}
    ).is_success


LARGE = b"x" * 65536
TOO_MUCH: dict[str, tuple[list[bytes], int]] = {
    "many lines": ([GET, *[b"a:\r\n" * 16384] * 320], 431),
    "many lines in one piece": ([GET + b"a:\r\n" * 200 + b"\r\n"], 431),
    "one long value": ([GET + b"a: ", *[LARGE] * 320], 431),
    "one long value that ends": ([GET + b"a: " + b"x" * 33_000 + b"\r\n\r\n"], 431),
    "one long name": ([GET, *[LARGE] * 320], 431),
    "several long values": ([GET, *[b"a: " + b"x" * 9000 + b"\r\n"] * 5, b"\r\n"], 431),
    "a long line": ([b"GET /", *[LARGE] * 320], 414),
    "a long query": ([b"GET /healthz?" + b"x" * MAX_URL_BYTES + b" HTTP/1.1\r\nhost: a\r\n\r\n"], 414),
    "blank lines": ([b"\r\n" * 32768, *[b"\r\n" * 32768] * 20], 431),
    "many trailers": ([CHUNKED, b"0\r\n", *[b"a: b\r\n" * 10000] * 100], 431),
    "one long trailer": ([CHUNKED, b"0\r\na: ", *[LARGE] * 320], 400),
    "an extension without an end": ([CHUNKED, b"1;a=", *[LARGE] * 320], 400),
    "a long extension on every chunk": ([CHUNKED, *[b"1;a=" + b"b" * 1000 + b"\r\nx\r\n"] * 1000], 400),
    "tiny chunks": ([CHUNKED, *[b"1\r\nx\r\n" * 10000] * 100], 400),
    "no request at all": ([bytes(range(256)) * 10], 400),
    "a tunnel": ([b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n"], 400),
    "two lengths": ([POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\n"], 400),
    "another protocol in chunks": ([CHUNKED[:-2] + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"], 400),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_is_over_a_limit_is_refused_in_words_and_the_server_goes_on(address: str, kind: str) -> None:
    pieces, expected = TOO_MUCH[kind]
    said = told(address, *pieces)
    assert status(said) in (expected, 0)  # the words may be lost to a client that is still sending
    if said:
        head, _, body = said.partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert b"nosniff" in head
        assert json.loads(body)["status"] == expected
    assert alive(address)


@pytest.mark.parametrize("kind", ["one long value that ends", "a long query", "many lines in one piece", "a tunnel"])
def test_who_has_stopped_sending_hears_why(address: str, kind: str) -> None:
    pieces, expected = TOO_MUCH[kind]
    assert status(told(address, *pieces)) == expected


def test_refusals_before_the_guard_are_counted(server: ApiServer) -> None:
    with listening(server) as address:
        told(address, GET + b"a:\r\n" * 200 + b"\r\n")
        text = httpx.get(f"http://{address}/metrics").text
    assert 'mlplatform_requests_total{route="refused",status="431"} 1.0' in text


def test_headers_up_to_the_limits_pass(address: str) -> None:
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 250) for number in range(90))
    assert status(told(address, GET + lines + b"connection: close\r\n\r\n")) == 200


def test_chunks_of_a_usual_size_with_extensions_and_trailers_pass_and_trailers_are_no_headers(address: str) -> None:
    half = len(PICTURE) // 2
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in (PICTURE[:half], PICTURE[half:]))
    said = told(address, CHUNKED[:-2] + b"connection: close\r\n\r\n" + chunks + b"0\r\nhost: evil\r\n\r\n")
    assert status(said) == 200


def test_a_large_body_in_small_chunks_passes(address: str) -> None:
    spaces = b" " * (UNCHECKED_CHUNKS * MIN_AVERAGE_CHUNK_BYTES)
    size = MIN_AVERAGE_CHUNK_BYTES
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, spaces[at : at + size]) for at in range(0, len(spaces), size))
    body = chunks + b"%x\r\n%s\r\n0\r\n\r\n" % (len(PICTURE), PICTURE)
    assert status(told(address, CHUNKED[:-2] + b"connection: close\r\n\r\n" + body)) == 200


SLOW: dict[str, tuple[bytes, int]] = {
    "says nothing": (b"", 0),
    "does not end its line": (b"GET /heal", 408),
    "does not end its headers": (GET + b"a: b", 408),
    "does not end its body": (POST + b"content-length: 100\r\n\r\n{", 408),
    "does not begin its body": (POST + b"content-length: 100\r\n\r\n", 408),
    "does not end its chunks": (CHUNKED + b"5\r\nab", 408),
    "does not end its form": (
        POST.replace(b"application/json", b"multipart/form-data; boundary=x") + b"content-length: 9\r\n\r\n--x",
        408,
    ),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_client_that_stops_before_the_end_is_let_go(lite: AppContext, kind: str) -> None:
    pieces, expected = SLOW[kind]
    with listening(with_settings(lite, **HURRIED)) as address:
        assert status(told(address, pieces)) == expected


@pytest.mark.parametrize("start", [b"GET /healthz HTTP/1.1\r\na: ", POST + b"content-length: 100000\r\n\r\n"])
def test_a_client_that_sends_byte_by_byte_is_let_go_too(lite: AppContext, start: bytes) -> None:
    with listening(with_settings(lite, **HURRIED)) as address, connected(address) as opened:
        opened.sendall(start)
        opened.settimeout(0.05)
        deadline = time.monotonic() + PATIENT_SECONDS
        said = b""
        while not said and time.monotonic() < deadline:
            with suppress(TimeoutError):
                opened.sendall(b" ")
                said = opened.recv(65536)
    assert status(said) == 408


def test_who_asks_whether_to_go_on_and_does_not_is_let_go(lite: AppContext) -> None:
    with listening(with_settings(lite, **HURRIED)) as address:
        said = told(address, POST + b"expect: 100-continue\r\ncontent-length: 100\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 ")


def test_a_connection_is_kept_for_the_idle_time_and_then_closed_without_a_word(lite: AppContext) -> None:
    assert lite.settings.idle_seconds > 60
    with listening(with_settings(lite, **HURRIED)) as address, connected(address) as opened:
        opened.sendall(GET + b"\r\n")
        said = heard(opened)
    assert said.count(b"HTTP/1.1") == 1


def test_the_rest_of_a_body_that_was_refused_unread_is_not_taken_for_ever(lite: AppContext) -> None:
    with listening(with_settings(lite, auth="on", **HURRIED)) as address, connected(address) as opened:
        opened.sendall(POST + b"content-length: 1000000\r\n\r\n")
        said = heard(opened)
    assert status(said) == 401


def test_a_client_that_does_not_read_is_let_go(lite: AppContext) -> None:
    with listening(with_settings(lite, **HURRIED)) as address, connected(address) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.sendall(b"GET /static-offline-docs/redoc.standalone.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 8)
        deadline = time.monotonic() + PATIENT_SECONDS
        closed = False
        while not closed and time.monotonic() < deadline:
            try:
                opened.sendall(b"\r\n")
                time.sleep(0.05)
            except (ConnectionResetError, BrokenPipeError):
                closed = True
    assert closed


def test_more_requests_in_a_row_than_are_kept_waiting_end_the_connection_after_those(address: str) -> None:
    said = told(address, (GET + b"\r\n") * 3000)
    assert 1 <= said.count(b"HTTP/1.1 200") <= MAX_PIPELINED_REQUESTS + 1
    assert b"connection: close" in said
    assert alive(address)


def test_requests_in_a_row_are_answered_in_their_order(address: str) -> None:
    asked = POST + b"content-length: %d\r\n\r\n" % len(PICTURE) + PICTURE
    said = told(address, asked + GET + b"\r\n" + asked + GET + b"connection: close\r\n\r\n")
    assert [b"predictions" in each for each in said.split(b"HTTP/1.1 200 OK")[1:]] == [True, False, True, False]


@pytest.mark.parametrize("apart", [True, False])
def test_a_request_for_another_protocol_is_answered_in_this_one_with_its_whole_body(
    address: str, *, apart: bool
) -> None:
    """Some clients send `upgrade: h2c` with everything, a body too: it is a body, and not the next request."""
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    head = POST + upgrade + b"content-length: %d\r\n\r\n" % len(PICTURE)
    smuggled = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n"
    with connected(address) as opened:
        if apart:
            opened.sendall(head)
            time.sleep(0.1)  # another packet
            opened.sendall(PICTURE[:50])
            time.sleep(0.1)
            opened.sendall(PICTURE[50:] + smuggled)
        else:
            opened.sendall(head + PICTURE + smuggled)
        said = heard(opened)
    assert status(said) == 200
    assert b"predictions" in said
    assert said.count(b"HTTP/1.1") == 1


def test_a_websocket_is_no_protocol_of_this_server(address: str) -> None:
    asked = GET + b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc\r\n\r\n"
    said = told(address, asked, b"\x81\x05hello")
    assert (status(said), said.count(b"HTTP/1.1")) == (200, 1)


def test_http_1_0_is_answered_and_closed(address: str) -> None:
    assert status(told(address, b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n")) == 200


def test_a_body_in_single_bytes_reaches_the_app_in_one_piece(server: ApiServer) -> None:
    with listening(server) as address, connected(address) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(PICTURE))
        for at in range(len(PICTURE)):
            opened.sendall(PICTURE[at : at + 1])
        assert status(heard(opened)) == 200


def test_idle_connections_make_room_for_who_has_something_to_say(lite: AppContext) -> None:
    with listening(with_settings(lite, max_connections=16)) as address:
        idle = [socket.create_connection(tuple(address.split(":")), timeout=5) for _ in range(60)]  # type: ignore[arg-type]
        assert all(alive(address) for _ in range(5))
        closed = 0
        for each in idle:
            each.setblocking(False)
            with suppress(BlockingIOError, ConnectionResetError):
                closed += each.recv(1) == b""
            each.close()
    assert closed >= 40


def test_half_sent_bodies_leave_room_for_a_whole_one(lite: AppContext) -> None:
    server = with_settings(lite, underway_mb=1.0, max_body_mb=1.0)
    with listening(server) as address:
        held = []
        for _ in range(12):
            opened = socket.create_connection(tuple(address.split(":")), timeout=5)  # type: ignore[arg-type]
            opened.sendall(POST + b"content-length: 1000000\r\n\r\n")
            opened.settimeout(0.5)
            with suppress(TimeoutError):
                opened.sendall(b" " * 900_000)
            held.append(opened)
        body = PICTURE + b" " * 600_000
        answer = httpx.post(
            f"http://{address}/v1/predict", content=body, headers={"content-type": "application/json"}, timeout=60
        )
        assert answer.status_code == 200
        for each in held:
            each.close()


def test_a_client_that_goes_away_amid_its_body_is_no_failure(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = {
        "/v1/predict": b"application/json",
        "/v1/feedback": b"application/json",
        "/invocations": b"application/json",
        "/v2/models/digits/infer": b"application/json",
    }
    with listening(server) as address:
        for path, kind in [
            *kinds.items(),
            ("/v1/predict", b"multipart/form-data; boundary=x"),
            ("/v1/predict", b"image/png"),
        ]:
            with connected(address) as opened:
                line = b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: %s\r\n" % (path.encode(), kind)
                opened.sendall(line + b"content-length: 100\r\n\r\n--x\r\n")
                time.sleep(0.1)  # or the server never sees that there was a request
        assert _eventually(lambda: _counted(address, "499") == 6), httpx.get(f"http://{address}/metrics").text
        assert alive(address)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def _counted(address: str, status: str) -> float:
    lines = httpx.get(f"http://{address}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("mlplatform_requests_total{") and f'status="{status}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def _eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENT_SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def asked_in_turn(address: str, count: int) -> list[Any]:
    async with httpx.AsyncClient(timeout=PATIENT_SECONDS) as client:
        return await asyncio.gather(*(client.get(f"http://{address}/healthz") for _ in range(count)))


def test_more_clients_than_connections_are_all_answered_where_they_ask_and_leave(lite: AppContext) -> None:
    with listening(with_settings(lite, max_connections=32)) as address:
        answers = asyncio.run(asked_in_turn(address, 30))
    assert {answer.status_code for answer in answers} == {200}
