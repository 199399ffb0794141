"""Probes and metrics are answered whatever else waits, and tell those without a key what is wrong and not where."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from inspect import iscoroutinefunction

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.app import create_app
from mlplatform.serve.blocking_routes import ConcurrencyLimiter
from mlplatform.serve.public_errors import public_message, public_reason
from mlplatform.store.database import Database
from pipelines.errors import ModelFormatError
from registry.errors import CorruptModelError, RegistryUnavailableError
from tests.support.api_server import Flaky, StockedCatalog, loaded, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.platform_world import picture

BODY = {"images": [picture(1).tolist()]}
PROBES = ["/healthz", "/readyz", "/metrics", "/ping", "/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready"]
SECRET = "postgresql+psycopg://u:pw@db.internal:5432/x did not answer; see /srv/home/platform.db and " + "ab12" * 16


class Blocked(Flaky):
    """A database in which everybody waits until told otherwise."""

    def __init__(self, inner: Database) -> None:
        super().__init__(inner)
        self.free, self.met = threading.Event(), threading.Semaphore(0)
        self.free.set()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._wait()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._wait()
        with super().write() as connection:
            yield connection

    def _wait(self) -> None:
        if not self.free.is_set():
            self.met.release()
            assert self.free.wait(60)


@pytest.fixture
def blocked(lite: AppContext) -> Blocked:
    return Blocked(lite.database.inner)  # type: ignore[attr-defined]


def test_probes_and_answers_go_on_while_every_thread_waits_for_the_database(blocked: Blocked, lite: AppContext) -> None:
    server = build_server(lite.replace(database=blocked))
    server.model_slot.swap(loaded(1))
    few, fewest = (ConcurrencyLimiter(threads=threads, max_wait_seconds=0.05) for threads in (3, 1))
    hurried = replace(server, route_limiter=few, slow_page_limiter=fewest)
    with running(hurried) as client, ThreadPoolExecutor(8) as pool:
        blocked.free.clear()
        waiting = [pool.submit(client.get, path) for path in ("/alerts", "/alerts", "/alerts", "/v1/models")]
        try:
            for _ in waiting:
                assert blocked.met.acquire(timeout=30)
            for path in PROBES:
                assert client.get(path).status_code == 200, path
            assert client.post("/v1/predict", json=BODY).status_code == 200
            for path in ("/", "/v1/models", "/v1/retrainings/x", "/alerts/x"):
                refused = client.get(path)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
                assert refused.json()["type"] == "urn:mlplatform:problem:busy"
            assert client.post("/v1/feedback", json={"prediction_id": "x", "label": "1"}).status_code == 503
        finally:
            blocked.free.set()
        assert [each.result(60).status_code for each in waiting] == [200] * 4
        assert client.get("/v1/models").status_code == 200


def test_every_route_that_may_block_takes_its_turn(server: ApiServer) -> None:
    """A new route that is no coroutine never takes the threads that probes and uploads need."""
    routes = [route for route in create_app(server).routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    assert [route.path for route in routes if not iscoroutinefunction(route.endpoint)] == []


def test_metrics_asked_for_together_are_made_once_and_never_older_than_the_question(client: httpx.Client) -> None:
    with ThreadPoolExecutor(10) as pool:
        texts = list(pool.map(lambda _: client.get("/metrics").text, range(10)))
    assert len(texts) == 10
    client.post("/v1/predict", json=BODY)
    assert 'mlplatform_predictions_total{version="1"} 1.0' in client.get("/metrics").text


def failing(server: ApiServer, text: str) -> None:
    catalog = server.context.catalog
    assert isinstance(catalog, StockedCatalog)
    catalog.away = RegistryUnavailableError(text)
    server.reloader.poll()


def test_readiness_tells_anybody_what_is_wrong_and_not_where(server: ApiServer) -> None:
    with running(server) as client:
        failing(server, SECRET)
        answer = client.get("/readyz")
    assert answer.json()["reload_error"] == "the model registry did not answer; the server's log says more"
    assert "details" not in answer.json()
    assert "internal" not in answer.text


def test_readiness_tells_who_has_a_key_where(lite: AppContext) -> None:
    locked = guarded(lite)
    with running(locked) as client:
        failing(locked, SECRET)
        assert client.get("/readyz", headers=shown(key(locked, "audit"))).status_code == 200
        locked.api_key_cache.refresh()
        for kind in ("bearer", "basic", "x-api-key"):
            told = client.get("/readyz", headers=shown(key_known(locked, "admin"), kind)).json()
            assert told["details"] == {"reload_error": SECRET}
        for text in (key_known(locked, "predict"), "mlp_x", "wrong"):
            answer = client.get("/readyz", headers=shown(text))
            assert (answer.status_code, "details" in answer.json(), "internal" in answer.text) == (200, False, False)


def key_known(server: ApiServer, *scopes: str) -> str:
    text = key(server, *scopes)
    server.api_key_cache.refresh()
    return text


def test_readiness_is_false_while_the_server_ends_and_life_goes_on(client: httpx.Client, server: ApiServer) -> None:
    server.shutdown_state.start()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")
    assert client.get("/ping").status_code == 503
    assert client.get("/v2/health/ready").status_code == 400
    assert client.get("/v2/models/digits/ready").status_code == 400
    assert client.get("/healthz").status_code == 200
    assert client.post("/v1/predict", json=BODY).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/", "/v1/predictions/x", "/v1/retrainings/x"])
def test_a_store_that_is_away_is_told_without_its_address(
    client: httpx.Client, flaky: Flaky, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    flaky.refusals = [StoreUnavailableError(SECRET)] * 3
    answer = client.get(path)
    assert answer.status_code == 503
    assert "internal" not in answer.text
    assert "/srv" not in answer.text
    assert any("db.internal" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RegistryUnavailableError(SECRET), "the model registry did not answer"),
        (CorruptModelError(SECRET), "the version's files are not those that were registered"),
        (ModelFormatError(SECRET), "the version cannot be loaded"),
        (StoreUnavailableError(SECRET), "the database did not answer"),
        (PermissionError(SECRET), "a file could not be read or written"),
        (ZeroDivisionError(SECRET), "it failed in a way nobody foresaw"),
    ],
)
def test_a_reason_names_the_kind_and_no_place(error: Exception, reason: str) -> None:
    assert public_reason(error) == f"{reason}; the server's log says more"
    assert not {"internal", "/srv", "ab12"} & set(public_message(error).replace("/", " /").split())
    for secret in ("db.internal", "platform.db", "ab12ab12"):
        assert secret not in public_message(error)


def test_what_names_no_place_is_told_as_it_is() -> None:
    assert public_message(StoreUnavailableError("the database is away")) == "the database is away"
    assert (
        public_message(RuntimeError("more than PLATFORM_SPOOL_MB allows (1024)"))
        == "more than PLATFORM_SPOOL_MB allows (1024)"
    )
