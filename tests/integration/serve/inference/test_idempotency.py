"""A prediction request sent again under its key: one answer, one row, whatever happens in between."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx
import numpy as np
import pytest

from mlplatform.errors import InvalidInputError, ModelUnavailableError
from mlplatform.schema_base import ModelName
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.inference.idempotency import IdempotencyCache, deterministic_ids
from mlplatform.serve.schemas import PredictionOut, PredictOut
from pipelines.data import image_rows
from tests.support.api_server import loaded, running
from tests.support.platform_world import picture
from tests.support.store_rows import count_rows

IMAGES = np.stack([picture(1), picture(1), picture(2)])
ROWS = image_rows(IMAGES)
KEY = {"idempotency-key": "order-7"}


def send(client: httpx.Client, seed: int = 1, headers: dict[str, str] = KEY) -> dict[str, object]:
    answer = client.post("/v1/predict", json={"images": [picture(seed).tolist()] * 2}, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def rows(server: ApiServer) -> int:

    server.recorder.flush(5)
    with server.context.database.read() as connection:
        return count_rows(connection)["predictions"]


def test_a_request_sent_again_under_its_key_is_the_same_answer_and_one_row_even_after_a_swap(
    client: httpx.Client, server: ApiServer
) -> None:
    first = send(client)
    server.model_slot.swap(loaded(2))
    assert send(client) == first
    assert rows(server) == 2


def test_requests_under_other_keys_or_none_are_answers_of_their_own(client: httpx.Client, server: ApiServer) -> None:
    made = [send(client, headers=headers) for headers in (KEY, {"idempotency-key": "order-8"}, {}, {})]
    assert len({str(each["request_id"]) for each in made}) == 4
    assert rows(server) == 8


def test_another_content_under_a_used_key_is_refused(client: httpx.Client, server: ApiServer) -> None:
    send(client)
    answer = client.post("/v1/predict", json={"images": [picture(2).tolist()]}, headers=KEY)
    assert (answer.status_code, "was used for another request" in answer.text) == (422, True)
    assert rows(server) == 2


def test_another_server_gives_the_same_ids_while_the_same_version_serves_and_the_row_stays_one(
    client: httpx.Client, server: ApiServer
) -> None:
    first = send(client)["predictions"]
    other = build_server(server.context)
    other.model_slot.swap(loaded(1))
    with running(other) as second:
        assert send(second)["predictions"] == first
    assert rows(server) == 2
    third = build_server(server.context)
    third.model_slot.swap(loaded(2))
    with running(third) as second:
        assert send(second)["predictions"] != first, "an id must not stand for two versions' answers"
    assert rows(server) == 4


def test_an_error_under_a_key_is_not_remembered(server: ApiServer) -> None:
    empty = build_server(server.context)
    with running(empty) as client:
        body = {"images": [picture(1).tolist()] * 2}
        assert client.post("/v1/predict", json=body, headers=KEY).status_code == 503
        empty.model_slot.swap(loaded(1))
        assert client.post("/v1/predict", json=body, headers=KEY).status_code == 200


def test_a_key_with_control_characters_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", json={"images": []}, headers={"idempotency-key": "x" * 201})
    assert (answer.status_code, "Idempotency-Key must be" in answer.text) == (422, True)


def test_ids_are_uuids_that_differ_by_image_place_version_client_and_key() -> None:
    ids = deterministic_ids("k", "c", 1, ROWS)
    assert ids == deterministic_ids("k", "c", 1, ROWS)
    assert {UUID(each).version for each in ids} == {8}
    assert {UUID(each).variant for each in ids} == {"specified in RFC 4122"}
    others = [
        deterministic_ids("k", "c", 2, ROWS),
        deterministic_ids("k", "d", 1, ROWS),
        deterministic_ids("l", "c", 1, ROWS),
    ]
    assert len({each for group in (ids, *others) for each in group}) == 12


def answered(name: str, images: int = 1) -> PredictOut:
    model = ModelName(name="digits", version=1)
    row = PredictionOut(id=name, label="1", confidence=1, probabilities={"1": 1}, model=model)
    return PredictOut(request_id=name, predictions=[row] * images, latency_ms=1, recorded=True)


def counting(calls: list[str], images: int = 1) -> Callable[[], Awaitable[PredictOut]]:
    async def work() -> PredictOut:
        calls.append("begun")
        await asyncio.sleep(0.01)
        return answered(f"answer {len(calls)}", images)

    return work


def test_a_request_sent_again_while_the_first_is_under_way_waits_for_its_answer() -> None:
    async def run() -> list[PredictOut]:
        repeats = IdempotencyCache()
        return await asyncio.gather(*(repeats.get_or_run("k", b"same", counting(calls)) for _ in range(5)))

    calls: list[str] = []
    assert {each.request_id for each in asyncio.run(run())} == {"answer 1"}
    assert calls == ["begun"]


def test_a_client_that_goes_away_does_not_take_the_answer_with_it() -> None:
    async def run() -> PredictOut:
        repeats = IdempotencyCache()
        gone = asyncio.create_task(repeats.get_or_run("k", b"same", counting(calls)))
        await asyncio.sleep(0.001)
        gone.cancel()
        return await repeats.get_or_run("k", b"same", counting(calls))

    calls: list[str] = []
    assert asyncio.run(run()).request_id == "answer 1"
    assert calls == ["begun"]


def test_the_oldest_answers_are_forgotten_beyond_the_limit_of_images() -> None:
    async def run() -> list[str]:
        repeats = IdempotencyCache(max_predictions=10)
        for number in range(4):
            await repeats.get_or_run(f"k{number}", b"", counting(calls, images=4))
        return [
            (await repeats.get_or_run(f"k{number}", b"", counting(calls, images=4))).request_id for number in (3, 2, 0)
        ]

    calls: list[str] = []
    assert asyncio.run(run()) == ["answer 4", "answer 3", "answer 5"]


def test_an_error_reaches_every_waiter_and_a_used_key_stays_refused_meanwhile() -> None:
    async def failing() -> PredictOut:
        await asyncio.sleep(0.01)
        raise ModelUnavailableError("none")

    async def run() -> list[object]:
        repeats = IdempotencyCache()
        waiting = [asyncio.create_task(repeats.get_or_run("k", b"same", failing)) for _ in range(2)]
        await asyncio.sleep(0.001)
        with pytest.raises(InvalidInputError, match="was used for another request"):
            await repeats.get_or_run("k", b"other", failing)
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    assert [type(each) for each in asyncio.run(run())] == [ModelUnavailableError, ModelUnavailableError]
