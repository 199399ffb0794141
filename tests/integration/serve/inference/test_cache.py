"""A picture seen before is answered from memory, by the version that serves, recorded, counted; nothing needs it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.inference.predict import PredictRequest
from mlplatform.serve.inference.prediction_cache import BACK_OFF_SECONDS, PredictionCache, RedisCache, build_cache
from mlplatform.serve.inference.request_decoder import image_decoder
from mlplatform.store.tables.predictions import predictions
from pipelines.answers import ClassReader
from pipelines.image.grey_png import encode_png
from tests.support.api_server import answered, loaded, running
from tests.support.platform_world import picture

READER = ClassReader(("a", "b"))
ROW = np.array([0.25, 0.75], dtype=np.float32)
OTHER = np.array([0.5, 0.5], dtype=np.float32)
PNG = {"content-type": "image/png"}


class Shelf:
    """A shared cache in memory that can be away, and counts how often it was asked."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.away = False
        self.asked = 0

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        self._knock()
        return [self.held.get(key) for key in keys]

    def mset(self, values: Mapping[str, bytes]) -> None:
        self._knock()
        self.held |= values

    def _knock(self) -> None:
        self.asked += 1
        if self.away:
            raise TimeoutError("no answer")


class Ticking:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def known(cache: PredictionCache, *keys: str) -> list[bool]:
    return [row is not None for row in cache.lookup(keys)]


def test_the_newest_are_kept_and_a_look_renews_one() -> None:
    cache = PredictionCache(2)
    cache.store({"a": ROW, "b": OTHER})
    assert known(cache, "a") == [True]
    cache.store({"c": ROW})
    assert known(cache, "a", "b", "c") == [True, False, True]


def test_a_cache_of_no_size_keeps_nothing_and_asks_nobody() -> None:
    spool_directory = Shelf()
    cache = PredictionCache(0, spool_directory)
    cache.store({"a": ROW})
    cache.publish({"a": ROW})
    assert known(cache, "a") == [False]
    assert (cache.may_block, spool_directory.asked) == (False, 0)


def test_what_is_kept_holds_no_batch_alive() -> None:
    batch = np.stack([ROW, OTHER])
    cache = PredictionCache(4)
    cache.store({"a": batch[0]})
    batch[0] = 9.0
    [row] = cache.lookup(["a"])
    assert row is not None
    assert np.array_equal(row, ROW)


def test_servers_share_what_they_computed() -> None:
    spool_directory = Shelf()
    one, two = PredictionCache(4, spool_directory), PredictionCache(4, spool_directory)
    one.publish({"a": ROW})
    rows = two.lookup_shared(["a", "b"], [None, None], READER)
    assert rows[0] is not None
    assert np.array_equal(rows[0], ROW)
    assert rows[1] is None
    assert known(two, "a", "b") == [True, False]


@pytest.mark.parametrize("value", [b"", b"x" * 8, np.array([np.nan, 1], "<f4").tobytes(), np.ones(3, "<f4").tobytes()])
def test_what_is_no_answer_is_not_believed(value: bytes) -> None:
    spool_directory = Shelf()
    spool_directory.held["a"] = value
    assert PredictionCache(4, spool_directory).lookup_shared(["a"], [None], READER) == [None]


def test_a_shared_cache_that_is_away_is_left_alone_for_a_while() -> None:
    spool_directory, clock = Shelf(), Ticking()
    cache = PredictionCache(4, spool_directory, clock)
    spool_directory.away = True
    assert cache.lookup_shared(["a"], [None], READER) == [None]
    assert not cache.may_block
    cache.publish({"a": ROW})
    cache.lookup_shared(["a"], [None], READER)
    assert spool_directory.asked == 1
    spool_directory.away, clock.now = False, clock.now + BACK_OFF_SECONDS
    cache.publish({"a": ROW})
    assert (cache.may_block, set(spool_directory.held)) == (True, {"a"})


def metric(client: httpx.Client, found: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    values = [
        line.rpartition(" ")[2] for line in lines if line.startswith(f'mlplatform_cache_total{{found="{found}"}}')
    ]
    return float(values[0]) if values else 0.0


def test_the_same_picture_is_answered_from_memory_and_recorded_again(server: ApiServer) -> None:
    with running(server) as client:
        told = [
            client.post("/v1/predict", content=encode_png(picture(seed)), headers=PNG).json() for seed in (1, 2, 1, 1)
        ]
        assert (metric(client, "here"), metric(client, "miss")) == (2, 2)
        first, _, again, _ = (one["predictions"][0] for one in told)
        assert first["id"] != again["id"]
        assert first["probabilities"] == again["probabilities"]
        assert server.recorder.flush(5)
    with server.context.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(predictions)) == 4


def test_a_request_may_be_known_in_part_and_keeps_its_order(server: ApiServer) -> None:
    decoder = image_decoder(server.decoders.of(loaded(1).predictor))
    asked = decoder.decode_images([encode_png(picture(seed)) for seed in (5, 6, 7)])
    with running(server) as client:
        alone = [client.post("/v1/predict", json={"images": [image.tolist()]}).json() for image in asked[:2]]
        server.model_slot.swap(replace(loaded(1), loaded_at=server.context.clock()))
        whole = client.post("/v1/predict", json={"images": asked[[1, 2, 0]].tolist()}).json()["predictions"]
        assert metric(client, "here") == 2
    assert whole[0]["probabilities"] == alone[1]["predictions"][0]["probabilities"]
    assert whole[2]["probabilities"] == alone[0]["predictions"][0]["probabilities"]


def test_another_version_answers_for_itself(server: ApiServer) -> None:
    asked = PredictRequest(None, (encode_png(picture(1)),))
    first = answered(server, asked)
    server.model_slot.swap(loaded(2))
    second = answered(server, asked)
    assert [one.predictions[0].label for one in (first, second)] == ["1", "2"]
    assert answered(server, asked).predictions[0].label == "2"


def test_a_second_server_answers_with_what_the_first_computed(lite: AppContext) -> None:
    spool_directory = Shelf()
    one, two = (replace(build_server(lite), prediction_cache=PredictionCache(8, spool_directory)) for _ in range(2))
    for server in (one, two):
        server.model_slot.swap(loaded(1))
    answered(one, PredictRequest(None, (encode_png(picture(1)),)))
    one.thread_pool.close()  # others have been told
    with running(two) as client:
        client.post("/v1/predict", content=encode_png(picture(1)), headers=PNG)
        assert (metric(client, "shared"), metric(client, "miss")) == (1, 0)
        spool_directory.away = True
        told = client.post("/v1/predict", content=encode_png(picture(2)), headers=PNG)
        assert (told.status_code, metric(client, "miss")) == (200, 1)
    one.batcher.close()


def test_a_redis_that_is_not_there_costs_nothing_but_a_warning(
    lite: AppContext, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = lite.settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})
    cache = build_cache(nowhere)
    assert cache.lookup_shared(["a"], [None], READER) == [None]
    assert "left alone" in caplog.text
    assert not build_cache(lite.settings.model_copy(update={"redis_url": "nonsense://"})).may_block
    assert "is no address" in caplog.text


def test_a_real_redis_shares_answers() -> None:
    url = os.environ.get("PLATFORM_TEST_REDIS_URL")
    if not url:
        pytest.skip("set PLATFORM_TEST_REDIS_URL to share answers through a Redis server")
    key = f"test/{os.getpid()}"
    one, two = (PredictionCache(4, RedisCache(url)) for _ in range(2))
    one.publish({key: ROW})
    [row] = two.lookup_shared([key], [None], READER)
    assert row is not None
    assert np.array_equal(row, ROW)
