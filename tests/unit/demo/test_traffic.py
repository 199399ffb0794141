"""The demo's clients."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest

from mlplatform.client import Client, RetryPolicy
from mlplatform.demo.traffic import AnsweredRequest, TrafficCounts, TrafficGenerator, accuracy
from pipelines.data import Examples, images_of
from pipelines.image.grey_png import decode_png
from pipelines.image.image_examples import image_examples

CLASSES = tuple("0123456789")


def images(count: int) -> Examples:
    """Images whose first pixel is their number; image n shows an n."""
    pixels = np.zeros((count, 28, 28), dtype=np.uint8)
    pixels[:, 0, 0] = np.arange(count)
    return image_examples(pixels, np.arange(count, dtype=np.int64) % 10, "numbers")


class Api:
    """An API server that reads the first pixel; every seventh image is answered wrongly, version 2 from 100 on."""

    def __init__(self) -> None:
        self.feedback: list[dict[str, str]] = []
        self.clients: Counter[str] = Counter()
        self.down: Callable[[int], bool] = lambda _number: False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path == "/v1/feedback":
            self.feedback += body["feedback"]
            taken = [{"id": "f", "outcome": "recorded", **each} for each in body["feedback"]]
            return httpx.Response(200, json=taken)
        self.clients[body["client_id"]] += 1
        number = int(decode_png(base64.b64decode(body["images"][0]))[0, 0])
        if self.down(number):
            return httpx.Response(503)
        label = str((number + (number % 7 == 0)) % 10)
        model = {"name": "digits", "version": 1 + (number >= 100)}
        made = {"id": f"p{number}", "label": label, "confidence": 1, "probabilities": {label: 1}, "model": model}
        whole = {"request_id": "r", "predictions": [made], "latency_ms": 1, "recorded": True}
        return httpx.Response(200, json=whole)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def traffic(api: Api) -> Iterator[TrafficGenerator]:
    with Client(
        "http://api.test", transport=httpx.MockTransport(api), retry_policy=RetryPolicy(max_attempts=1)
    ) as client:
        yield TrafficGenerator(client, CLASSES, TrafficCounts())


def test_every_image_is_one_request_with_its_truth_remembered(traffic: TrafficGenerator, api: Api) -> None:
    told: list[int] = []
    sent = traffic.send_images(images(40), "branch-1", told.append)
    assert [item.prediction_id for item in sent] == [f"p{n}" for n in range(40)]
    assert [item.truth for item in sent] == [str(n % 10) for n in range(40)]
    assert told == list(range(1, 41))
    assert api.clients == {"branch-1": 40}
    assert accuracy(sent) == pytest.approx(34 / 40)


def test_the_answering_versions_are_counted(traffic: TrafficGenerator) -> None:
    traffic.send_images(images(120), "a")
    assert (traffic.counts.requests, traffic.counts.versions, traffic.counts.failures) == (120, {1: 100, 2: 20}, [])


def test_failed_requests_are_tallied_and_left_out(traffic: TrafficGenerator, api: Api) -> None:
    api.down = lambda number: number in (3, 4)
    sent = traffic.send_images(images(10), "a")
    assert len(sent) == 8
    assert (traffic.counts.requests, len(traffic.counts.failures)) == (10, 2)
    assert "503" in traffic.counts.failures[0]


@pytest.mark.parametrize(
    "body", [b"not json", b"{}", b'{"request_id": "r", "predictions": [], "latency_ms": 1, "recorded": true}']
)
def test_an_answer_that_is_none_is_a_failure(body: bytes) -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=body))
    with Client("http://api.test", transport=transport) as client:
        traffic = TrafficGenerator(client, CLASSES, TrafficCounts())
        assert traffic.send_image(images_of(images(1).batch)[0], "0", "a") is None
    assert len(traffic.counts.failures) == 1


def test_labels_are_the_truth_for_a_random_share_the_same_for_one_seed(traffic: TrafficGenerator, api: Api) -> None:
    sent = traffic.send_images(images(200), "a")
    count = traffic.send_labels(sent, 0.6, 0)
    assert 100 < count < 140
    given = {item["prediction_id"]: item["label"] for item in api.feedback}
    assert len(given) == count
    assert all(given[item.prediction_id] == item.truth for item in sent if item.prediction_id in given)
    assert {item["source"] for item in api.feedback} == {"audit"}
    api.feedback.clear()
    assert traffic.send_labels(sent, 0.6, 0) == count
    assert {item["prediction_id"] for item in api.feedback} == set(given)


def test_background_traffic_runs_until_the_block_ends(traffic: TrafficGenerator) -> None:
    with traffic.in_background(images(3), "b", 0.001):
        deadline = time.monotonic() + 10
        while traffic.counts.requests < 7 and time.monotonic() < deadline:
            time.sleep(0.005)
    total = traffic.counts.requests
    assert total >= 7
    time.sleep(0.05)
    assert traffic.counts.requests == total


def test_background_traffic_without_images_ends_too(traffic: TrafficGenerator) -> None:
    before = threading.active_count()
    with traffic.in_background(images(0), "b", 0.001):
        pass
    assert threading.active_count() == before


def test_accuracy_of_nothing_is_zero() -> None:
    assert accuracy([]) == 0
    assert accuracy([AnsweredRequest("a", "1", 1, "1"), AnsweredRequest("b", "1", 1, "2")]) == 0.5
