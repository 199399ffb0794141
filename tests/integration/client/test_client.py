"""The Python client, sync and async alike: what it sends, reads, repeats and refuses."""

import asyncio
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest

from mlplatform import client as package
from mlplatform.client import (
    ApiError,
    ApiRequestError,
    AsyncClient,
    Client,
    ClientError,
    InvalidResponseError,
    Label,
    RetryPolicy,
    UnavailableError,
)
from mlplatform.serve.api_server import ApiServer
from pipelines.image.grey_png import decode_png, encode_png
from tests.support.api_server import listening
from tests.support.platform_world import picture
from tests.support.store_rows import count_rows

GREY = picture(1)
MADE: dict[str, Any] = {
    "request_id": "r",
    "predictions": [
        {
            "id": "p1",
            "label": "3",
            "confidence": 0.9,
            "probabilities": {"3": 0.9, "5": 0.1},
            "model": {"name": "digits", "version": 7},
        }
    ],
    "latency_ms": 1.5,
    "recorded": True,
}
STEADY = RetryPolicy(jitter=lambda: 1.0, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
Step = httpx.Response | Exception


class World:
    """Answers in their order, what was sent, and how long was waited."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


Do = Callable[[Any], Any]


def in_sync(world: World, do: Do, **options: Any) -> Any:  # noqa: ANN401
    transport = httpx.MockTransport(world)
    options = {"retry_policy": STEADY} | options
    with Client("http://api", transport=transport, sleep=world.waits.append, **options) as client:
        return do(client)


def in_a_loop(world: World, do: Do, **options: Any) -> Any:  # noqa: ANN401
    async def run() -> Any:  # noqa: ANN401
        transport = httpx.MockTransport(world)
        async with AsyncClient(
            "http://api", transport=transport, sleep=world.sleep, **{"retry_policy": STEADY} | options
        ) as it:
            return await do(it)

    return asyncio.run(run())


@pytest.fixture(params=[in_sync, in_a_loop])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


def ok(body: object = MADE) -> httpx.Response:
    return httpx.Response(200, json=body)


def problem(status: int, kind: str = "some", **headers: str) -> httpx.Response:
    body = {"type": f"urn:mlplatform:problem:{kind}", "title": "t", "status": status, "detail": "it is so"}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_a_text_comes_with_the_confidence_of_each_character(ask: Callable[..., Any]) -> None:
    text = {**MADE["predictions"][0], "label": "27", "probabilities": {}, "characters": [0.9, 0.5]}
    world = World(httpx.Response(200, json={**MADE, "predictions": [text]}))
    [row] = ask(world, lambda client: client.predict([b"png"])).predictions
    assert (row.label, row.probabilities, row.characters) == ("27", {}, (0.9, 0.5))


def test_an_answer_is_read_into_frozen_records(ask: Callable[..., Any]) -> None:
    world = World(ok())
    answered = ask(world, lambda client: client.predict([b"png"], client_id="till", tags={"scanner": "flatbed"}))
    [row] = answered.predictions
    assert (row.id, row.label, row.version, row.model, row.probabilities["5"]) == ("p1", "3", 7, "digits", 0.1)
    assert (answered.request_id, answered.latency_ms, answered.recorded) == ("r", 1.5, True)
    assert row.characters == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.label = "4"
    sent = json.loads(world.requests[0].content)
    assert sent == {"images": ["cG5n"], "client_id": "till", "tags": {"scanner": "flatbed"}}


def test_pictures_are_sent_as_files_rows_or_arrays(ask: Callable[..., Any]) -> None:
    world = World(ok())
    ask(world, lambda client: client.predict([b"a", [[0, 255]], np.asarray([[1, 2]])]))
    assert json.loads(world.requests[0].content)["images"] == ["YQ==", [[0, 255]], [[1, 2]]]


def test_the_api_key_goes_with_every_request_and_none_without_one(ask: Callable[..., Any]) -> None:
    world = World(ok(), ok({}))
    ask(world, lambda client: client.predict([b"a"]), api_key="secret")
    ask(world, lambda client: client.models())
    assert [each.headers.get("authorization") for each in world.requests] == ["Bearer secret", None]


def test_a_prediction_is_asked_again_under_one_key_with_growing_waits(ask: Callable[..., Any]) -> None:
    world = World(httpx.ReadTimeout("slow"), problem(500), problem(502), ok())
    assert ask(world, lambda client: client.predict([b"a"])).request_id == "r"
    assert world.waits == [0.2, 0.4, 0.8]
    assert len({each.headers["idempotency-key"] for each in world.requests}) == 1
    other = World(ok(), ok())
    ask(other, lambda client: client.predict([b"a"]))
    ask(other, lambda client: client.predict([b"a"], idempotency_key="order-7"))
    assert other.requests[0].headers["idempotency-key"] != world.requests[0].headers["idempotency-key"]
    assert other.requests[1].headers["idempotency-key"] == "order-7"


def test_retry_after_is_waited_for_as_seconds_and_as_a_date(ask: Callable[..., Any]) -> None:
    world = World(
        problem(503, retry_after="3"),
        problem(429, retry_after="Thu, 01 Jan 2026 00:00:05 GMT"),
        problem(503, retry_after="soon"),
        ok(),
    )
    ask(world, lambda client: client.predict([b"a"]))
    assert world.waits == [3.2, 5.4, 0.8]


def test_a_wait_beyond_the_budget_fails_at_once_with_what_the_server_said(ask: Callable[..., Any]) -> None:
    world = World(problem(503, "store-unavailable", retry_after="3600"))
    with pytest.raises(UnavailableError, match="it is so") as failed:
        ask(world, lambda client: client.predict([b"a"]))
    assert (failed.value.status, failed.value.kind, world.waits) == (503, "store-unavailable", [])


def test_jitter_spreads_the_waits_between_nothing_and_the_most() -> None:
    retries = RetryPolicy()
    waits = [retries.delay_seconds(3, httpx.ReadTimeout("slow")) for _ in range(200)]
    assert 0 <= min(waits) < 0.2
    assert 0.6 < max(waits) <= 0.8
    assert RetryPolicy(jitter=lambda: 1.0).delay_seconds(40, httpx.ReadTimeout("slow")) == 5.0


def test_tries_come_to_an_end(ask: Callable[..., Any]) -> None:
    world = World(*[problem(503)] * 4)
    with pytest.raises(UnavailableError) as failed:
        ask(world, lambda client: client.predict([b"a"]))
    assert (failed.value.status, len(world.requests), world.steps) == (503, 4, [])
    lost = World(*[httpx.ConnectError("nobody")] * 4)
    with pytest.raises(UnavailableError, match=r"nobody.* after 4 tries") as failed:
        ask(lost, lambda client: client.predict([b"a"]))
    assert failed.value.status == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_what_is_refused_is_not_sent_again(ask: Callable[..., Any], status: int) -> None:
    world = World(problem(status, "invalid-input"))
    with pytest.raises(ApiRequestError, match="it is so") as refused:
        ask(world, lambda client: client.predict([b"a"]))
    assert (refused.value.status, refused.value.kind) == (status, "invalid-input")
    assert isinstance(refused.value, ApiError | ClientError | ValueError)


def test_a_retraining_is_asked_for_again_only_where_nothing_was_done(ask: Callable[..., Any]) -> None:
    queued = httpx.Response(202, json={"id": "x", "joined": False})
    world = World(httpx.ConnectError("nobody"), problem(503), queued)
    assert ask(world, lambda client: client.retrain("because", "ann")).id == "x"
    for doubtful in (httpx.ReadTimeout("slow"), problem(500)):
        world = World(doubtful)
        with pytest.raises(UnavailableError):
            ask(world, lambda client: client.retrain("because", "ann"))
        assert len(world.requests) == 1


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"predictions": 7}', "{}"])
def test_an_answer_that_is_none_is_told_with_its_address(ask: Callable[..., Any], answer: str) -> None:
    with pytest.raises(InvalidResponseError, match="http://api/v1/predict"):
        ask(World(httpx.Response(200, text=answer)), lambda client: client.predict([b"a"]))


def test_labels_carry_their_time_so_that_they_may_be_sent_again(ask: Callable[..., Any]) -> None:
    taken = ok([{"id": "f", "prediction_id": "p1", "outcome": "recorded"}])
    world = World(httpx.ReadError("lost"), taken)
    [made] = ask(world, lambda client: client.feedback([Label("p1", "3", "audit", "ann")]))
    assert (made.id, made.prediction_id, made.outcome) == ("f", "p1", "recorded")
    first, second = (json.loads(each.content)["feedback"][0] for each in world.requests)
    assert first == second
    assert datetime.fromisoformat(first["at"]).tzinfo is not None


def test_ids_are_quoted_into_paths(ask: Callable[..., Any]) -> None:
    world = World(problem(404))
    with pytest.raises(ApiRequestError):
        ask(world, lambda client: client.prediction("../models?x"))
    assert world.requests[0].url.raw_path == b"/v1/predictions/..%2Fmodels%3Fx"


def test_both_clients_offer_the_same_calls_with_the_same_parameters() -> None:
    def offered(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(made).parameters) for name, made in found if not name.startswith("_")}

    assert offered(Client) == offered(AsyncClient)


def test_everything_offered_is_there() -> None:
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.fixture
def live(server: ApiServer) -> Iterator[Client]:
    with listening(server) as address, Client(f"http://{address}") as client:
        yield client


def test_a_whole_conversation_with_a_listening_server(live: Client, server: ApiServer) -> None:
    png = encode_png(GREY)
    answered = live.predict(
        [png, GREY], client_id="till", request_id="r-1", tags={"scanner": "flatbed"}, idempotency_key="k-1"
    )
    assert (
        live.predict(
            [png, GREY], client_id="till", request_id="r-1", tags={"scanner": "flatbed"}, idempotency_key="k-1"
        )
        == answered
    )
    [first, second] = answered.predictions
    assert (first.label, first.version, answered.recorded) == ("1", 1, True)
    [taken] = live.feedback([Label(first.id, "4", "audit", "ann")])
    assert taken.outcome == "recorded"
    shown = live.prediction(first.id)
    assert (shown.prediction.label, shown.client_id, shown.tags) == ("1", "till", {"scanner": "flatbed"})
    assert shown.role == "champion"
    assert [(each.label, each.source) for each in shown.labels] == [("4", "audit")]
    assert np.array_equal(decode_png(live.image(second.id)), GREY)
    assert live.next_reviews("ann").classes == tuple("0123456789")
    assert live.next_reviews("ann").allowed == ", ".join("0123456789")
    queued = live.retrain("try", "ann")
    assert live.retrain("try", "ann").joined
    assert live.retraining(queued.id)["state"] == "queued"
    live.cancel(queued.id)
    assert live.retraining(queued.id)["state"] == "cancelled"
    assert live.models()["model"] == "digits"
    with pytest.raises(ApiRequestError, match="not known"):
        live.prediction("nothing")
    with server.context.database.read() as connection:
        assert count_rows(connection)["predictions"] == 2
