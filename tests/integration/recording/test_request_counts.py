"""Prediction requests counted by how they ended: bounded, off the answer's path, and nothing is counted twice."""

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import ClientDisconnect

from mlplatform.context import AppContext
from mlplatform.predictions import prediction_counts
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.request_counts import (
    CLIENT_CLOSED_REQUEST,
    MAX_UNWRITTEN_MINUTES,
    WRITE_INTERVAL,
    RequestCounts,
)
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.app import create_app
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.store.database import Database
from pipelines.engines.torch_engine import TorchEngine
from tests.support.api_server import GREY, NAME, Flaky, predict, running, spool_directory_in
from tests.support.platform_world import START, FakeClock


class Broken:
    """A model that fails on every picture."""

    classes = ("0",)

    def __call__(self, images: Any) -> Any:  # noqa: ANN401
        raise RuntimeError("out of memory")


def counting(database: Database, clock: FakeClock, version: int = 1) -> RequestCounts:
    return RequestCounts(database, clock, NAME, "me", lambda: version)


def stored(database: Database, version: int = 1) -> dict[int, int]:
    with database.read() as connection:
        return prediction_counts.request_status_counts(
            connection, NAME, version, START - WRITE_INTERVAL, START + 1000 * WRITE_INTERVAL
        )


@pytest.mark.both_databases
def test_counts_are_written_once_whatever_is_written_again(database: Database, clock: FakeClock) -> None:
    counts = counting(database, clock)
    for status in (200, 200, 422):
        counts.count(status)
    assert counts.write() == 1
    assert counts.write(now=True) == 0
    counts.count(200)
    clock.tick(seconds=70)
    counts.count(500)
    assert counts.write() == 2
    assert stored(database) == {200: 3, 422: 1, 500: 1}


def test_counts_are_not_written_all_the_time(database: Database, clock: FakeClock) -> None:
    counts = counting(database, clock)
    counts.count(200)
    assert counts.write() == 1
    counts.count(200)
    assert counts.write() == 0
    clock.tick(seconds=WRITE_INTERVAL.total_seconds())
    assert counts.write() == 1


def test_a_commit_whose_answer_was_lost_is_not_counted_twice(flaky: Flaky, clock: FakeClock) -> None:
    counts = counting(flaky, clock)
    counts.count(200)
    flaky.answers_to_lose = 1
    assert counts.write() == 0
    assert counts.write(now=True) == 1
    assert stored(flaky) == {200: 1}


def test_counts_wait_for_a_database_that_is_away(flaky: Flaky, clock: FakeClock) -> None:
    counts = counting(flaky, clock)
    flaky.away = True
    for _ in range(5):
        counts.count(503)
        assert counts.write(now=True) == 0
        clock.tick(minutes=1)
    flaky.away = False
    assert counts.write() == 5
    assert stored(flaky) == {503: 5}


def test_any_refusal_leaves_the_counts_for_the_next_time(
    flaky: Flaky, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    counts = counting(flaky, clock)
    counts.count(200)
    flaky.refusals = [RuntimeError("odd")]
    assert counts.write() == 0
    assert "counts of requests could not be written" in caplog.text
    assert counts.write(now=True) == 1


def test_memory_is_bounded_and_what_is_given_up_is_said(
    flaky: Flaky, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    counts, flaky.away = counting(flaky, clock), True
    for _ in range(MAX_UNWRITTEN_MINUTES + 2):
        counts.count(200)
        clock.tick(minutes=1)
    flaky.away = False
    with caplog.at_level(logging.ERROR):
        assert counts.write() == MAX_UNWRITTEN_MINUTES
    assert caplog.text.count("were counted and never written") == 2


def test_a_client_that_went_away_is_counted_as_nothing(database: Database, clock: FakeClock) -> None:
    counts = counting(database, clock)
    counts.count(CLIENT_CLOSED_REQUEST)
    assert counts.write() == 0


def test_the_recorder_writes_them_even_when_there_is_no_answer_to_record(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    counts = counting(database, clock, version=prediction_counts.NO_MODEL_VERSION)
    recorder = Recorder(
        ThreadWriter(database),
        spool_directory=spool_directory_in(tmp_path),
        batch=5,
        flush_seconds=0,
        request_counts=counts,
    )
    recorder.start()
    counts.count(503)
    until = time.monotonic() + 20
    while stored(database) != {503: 1} and time.monotonic() < until:
        time.sleep(0.05)
    assert stored(database) == {503: 1}
    counts.count(503)
    recorder.close()
    assert stored(database) == {503: 2}


def test_a_server_counts_what_it_answered_refused_and_failed(server: ApiServer, flaky: Flaky) -> None:
    with running(server) as client:
        predict(client, 3)
        assert client.post("/v1/predict", content=b"{}", headers={"content-type": "text/plain"}).status_code == 422
        too_much = b"x" * (2**20 + 1)
        assert client.post("/v1/predict", content=too_much, headers={"content-type": "image/png"}).status_code == 413
        assert client.get("/v1/predict").status_code == 405
        assert client.get("/v1/models").status_code == 200
        server.model_slot.swap(LoadedModel(NAME, 1, cast(TorchEngine, Broken()), START))
        answer = client.post("/v1/predict", json={"images": [GREY.tolist()]})
        assert answer.status_code == 500
    with flaky.read() as connection:
        now = server.context.clock()
        found = prediction_counts.request_status_counts(connection, NAME, 1, now - 60 * WRITE_INTERVAL, now)
    assert found == {200: 1, 413: 1, 422: 1, 500: 1}


def test_requests_without_a_model_are_counted_for_whatever_version_should_serve(lite: AppContext, flaky: Flaky) -> None:
    server = build_server(lite)
    with running(server) as client:
        assert client.post("/v1/predict", json={"images": [GREY.tolist()]}).status_code == 503
    with flaky.read() as connection:
        now = server.context.clock()
        assert prediction_counts.request_status_counts(connection, NAME, 7, now - 60 * WRITE_INTERVAL, now) == {503: 1}


def test_a_client_that_hangs_up_is_no_failure_of_the_server(server: ApiServer, flaky: Flaky) -> None:
    app = create_app(server)
    scope = {
        "type": "http", "method": "POST", "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b"",
        "headers": [(b"content-type", b"image/png")], "http_version": "1.1", "scheme": "http", "app": app,
        "client": ("127.0.0.1", 1), "server": ("api", 80), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None: ...

    async def hang_up() -> None:
        with suppress(ClientDisconnect):
            await app(scope, receive, send)

    asyncio.run(hang_up())
    assert server.request_counts.write(now=True) == 0
