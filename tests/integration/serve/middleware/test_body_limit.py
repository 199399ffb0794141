"""A body over the limit is refused with 413 before it is kept, in every form, and the refusal reaches the client."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from mlplatform.serve.middleware.body_limit import BodyLimitMiddleware
from tests.support.api_server import GREY, problem

MEGABYTE = b"x" * 2**20


def spoken(chunks: list[bytes], headers: list[tuple[bytes, bytes]], limit: int = 10) -> tuple[list[Message], int, int]:
    """What a reading app behind the limit sends, how much of the body it saw, and how much was taken in."""
    sent: list[Message] = []
    waiting = list(chunks)
    seen = 0

    async def receive() -> Message:
        if not waiting:
            return {"type": "http.disconnect"}
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal seen
        try:
            while True:
                message = await receive()
                seen += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
        except ValueError:  # an app that makes something else of the error
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"wrong"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    asyncio.run(BodyLimitMiddleware(app, limit)({"type": "http", "headers": headers}, receive, send))
    return sent, seen, sum(map(len, chunks)) - sum(map(len, waiting))


def test_a_body_up_to_the_limit_passes() -> None:
    sent, seen, _ = spoken([b"12345", b"67890"], [(b"content-length", b"10")])
    assert (sent[0]["status"], sent[-1]["body"], seen) == (200, b"fine", 10)


def test_an_announced_excess_is_refused_unseen_and_thrown_away() -> None:
    sent, seen, taken = spoken([b"x" * 6] * 4, [(b"content-length", b"24")])
    assert (sent[0]["status"], seen, taken) == (413, 0, 24)
    headers = dict(sent[0]["headers"])
    assert (headers[b"connection"], headers[b"content-type"]) == (b"close", b"application/problem+json")
    assert b"PLATFORM_MAX_BODY_MB" in sent[1]["body"]
    assert [message["type"] for message in sent] == ["http.response.start", *["http.response.body"] * 2]
    assert not sent[-1]["more_body"]


def test_an_unannounced_excess_is_refused_whatever_the_app_makes_of_it() -> None:
    sent, seen, taken = spoken([b"x" * 6] * 4, [])
    assert (sent[0]["status"], seen, taken) == (413, 6, 24)


def test_an_excess_in_the_last_message_is_refused_without_waiting_for_more() -> None:
    sent, seen, taken = spoken([b"x" * 24], [])
    assert (sent[0]["status"], seen, taken) == (413, 0, 24)


@pytest.mark.parametrize("digits", [19, 4301, 100_000])
def test_a_length_of_more_digits_than_any_body_has_is_refused(digits: int) -> None:
    assert spoken([b"x"], [(b"content-length", b"9" * digits)])[0][0]["status"] == 413


@pytest.mark.parametrize("length", [b"-5", b"many", b"", "٣".encode()])
def test_a_length_that_is_no_number_is_not_trusted(length: bytes) -> None:
    assert spoken([b"x" * 24], [(b"content-length", length)])[0][0]["status"] == 413
    assert spoken([b"x"], [(b"content-length", length)])[0][0]["status"] == 200


def test_what_is_not_http_passes_untouched() -> None:
    calls: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append(scope["type"])

    async def nothing() -> Message:
        raise AssertionError

    async def unsent(_: Message) -> None:
        raise AssertionError

    asyncio.run(BodyLimitMiddleware(app, 1)({"type": "lifespan"}, nothing, unsent))
    assert calls == ["lifespan"]


FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'


def chunked(megabytes: int) -> Iterator[bytes]:
    yield FORM
    for _ in range(megabytes):
        yield MEGABYTE


@pytest.mark.parametrize("kind", ["application/json", "image/png", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/feedback", "/v1/retrain"])
def test_a_large_body_is_a_413_on_every_route_in_every_form(shared_client: httpx.Client, path: str, kind: str) -> None:
    headers = {"content-type": kind}
    for content in (FORM + MEGABYTE * 2, chunked(3)):
        detail = problem(shared_client.post(path, content=content, headers=headers), 413)
        assert detail == "the body is over 1 MiB (PLATFORM_MAX_BODY_MB); send fewer images"
    assert shared_client.post("/v1/predict", json={"images": [GREY.tolist()]}).status_code == 200


def test_a_hundred_megabytes_are_a_413_and_counted(client: httpx.Client) -> None:
    problem(client.post("/v1/predict", content=chunked(100)), 413)
    problem(client.post("/v1/predict", content=MEGABYTE * 100), 413)
    counts = [line for line in client.get("/metrics").text.splitlines() if "requests_total{" in line]
    assert sum(float(line.split()[-1]) for line in counts if 'status="413"' in line) == 2
