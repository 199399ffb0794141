"""A whole API server around models of a few weights: each answers one class, so an answer tells who made it."""

import asyncio
import io
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from fastapi import FastAPI
from fastapi.dependencies import models as dependency_models
from PIL import Image
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from torch import nn

from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.ids import uuid7
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.app import create_app
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.predict import PredictRequest
from mlplatform.serve.routes import predictions as prediction_routes
from mlplatform.serve.run_server import build_http_server
from mlplatform.serve.schemas import PredictOut
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from pipelines.engines.exportable import Exportable, build_exportable
from pipelines.engines.torch_engine import TorchEngine
from registry.errors import CorruptModelError
from registry.model_package import MODEL_FILE
from tests.support.platform_world import START, DigitContracts, FakeCatalog, picture, settings_in
from tests.support.version_folder import write_contract

CLASSES = tuple("0123456789")
NAME = "digits"
ROW_BYTES = 1400


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The picture as a file's bytes."""
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


class Answers(nn.Module):
    """Always the same class, by a softmax over ten weights; `height` × `width` is what it says it takes."""

    def __init__(self, label: int) -> None:
        super().__init__()
        bias = torch.zeros(10)
        bias[label] = 4.0
        self.bias = nn.Parameter(bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(dim=1, keepdim=True) * 0.0 + self.bias


def module(label: int, side: int = 28) -> Exportable:
    return build_exportable(Answers(label), height=side, width=side)


def loaded(version: int, label: int | None = None) -> LoadedModel:
    """Version N answers class N, unless told otherwise."""
    return LoadedModel(
        NAME, version, TorchEngine(module(version % 10 if label is None else label), CLASSES, 28, 28), START
    )


class Flaky(Database):
    """A database that can go away, before a transaction or between its commit and the commit's answer."""

    def __init__(self, inner: Database) -> None:
        self.inner, self.url, self.is_sqlite = inner, inner.url, inner.is_sqlite
        self.away = False
        self.answers_to_lose = 0
        self.refusals: list[Exception] = []

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if not (self.refusals and isinstance(self.refusals[0], IntegrityError)):  # which no reading can break
            self._knock()
        with self.inner.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._knock()
        with self.inner.write() as connection:
            yield connection
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise StoreUnavailableError("the answer to the commit was lost")

    def close(self) -> None:
        self.inner.close()

    def _knock(self) -> None:
        if self.away:
            raise StoreUnavailableError("the database is away")
        if self.refusals:
            raise self.refusals.pop(0)


def spool_directory_in(root: Path, *, rows: int = 10_000, **changes: Any) -> SpoolDirectory:  # noqa: ANN401 - any setting of a shelf
    """A spool directory with room for about so many rows of an image each."""
    return SpoolDirectory(
        root=root / "spool", instance=f"host:{os.getpid()}:{uuid7()[-6:]}", limit_bytes=rows * ROW_BYTES, **changes
    )


class StockedCatalog(FakeCatalog):
    """A registry whose versions can be downloaded; a version without a good file is corrupt."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[int, bytes] = {}
        self.corrupt: set[int] = set()

    def stock(self, version: int, content: bytes) -> None:
        self.add(NAME, version)
        self.files[version] = content

    def download(self, name: str, version: int, target: Path) -> Path:
        self.version(name, version)
        if version in self.corrupt:
            raise CorruptModelError(f"Version {version} of {name!r} should have another sha256")
        folder = target / name / str(version)
        (folder / MODEL_FILE).parent.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self.files[version])
        write_contract(folder)
        return folder


@pytest.fixture
def stocked() -> StockedCatalog:
    """Three versions, and none of them champion."""
    made = StockedCatalog()
    for version in (1, 2, 3):
        made.stock(version, b"no model")
    return made


class InProcess(httpx.BaseTransport):
    """Requests to an app on an event loop of its own, without a socket; the app is started and stopped around them."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(60)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        chunks = iter(request.stream)

        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        passed = httpx.Request(request.method, request.url, headers=request.headers, content=body())
        answer = await self._asgi.handle_async_request(passed)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        self._thread.start()
        lifespan = self._app.router.lifespan_context(self._app)
        asyncio.run_coroutine_threadsafe(_entered(lifespan), self._loop).result(30)
        try:
            with httpx.Client(transport=self, base_url="http://api", timeout=60) as client:
                yield client
        finally:
            asyncio.run_coroutine_threadsafe(_left(lifespan), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            forget_routes()


def forget_routes() -> None:
    """Empty FastAPI's caches, which hold every route ever built, and by it the server, its model and its metrics."""
    for each in vars(dependency_models).values():
        if callable(clear := getattr(each, "cache_clear", None)):
            clear()


async def _entered(lifespan: Any) -> None:  # noqa: ANN401 - starlette's own type is private
    await lifespan.__aenter__()


async def _left(lifespan: Any) -> None:  # noqa: ANN401
    await lifespan.__aexit__(None, None, None)


@contextmanager
def running(server: ApiServer) -> Iterator[httpx.Client]:
    """The server's app, started, behind a client; stopped and closed at the end."""
    with InProcess(create_app(server)).running() as client:
        yield client


@contextmanager
def small_platform(settings: Settings, sqlite_template: Path, stocked: StockedCatalog) -> Iterator[AppContext]:
    """A platform on SQLite alone, with limits that a test reaches."""
    small = settings.model_copy(
        update={"max_images": 20, "max_body_mb": 1.0, "baseline_calls": 20, "allowed_hosts": ("api",)}
    )
    settings.home.mkdir()
    shutil.copy(sqlite_template, settings.home / "platform.db")
    contracts = DigitContracts(lambda: stocked)
    made = AppContext(small, database=Flaky(Database(settings.store_url)), catalog=stocked, contracts=contracts)
    yield made
    made.database.close()


@pytest.fixture
def lite(settings: Settings, sqlite_template: Path, stocked: StockedCatalog) -> Iterator[AppContext]:
    """A platform on SQLite alone, for tests to which the kind of database means nothing."""
    with small_platform(settings, sqlite_template, stocked) as made:
        yield made


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[ApiServer]:
    """One server for all refusals of a module, answering with version 1: routes cost more to build than to refuse."""
    settings = settings_in(tmp_path_factory.mktemp("shared"))
    with (
        pytest.MonkeyPatch.context() as patience,
        small_platform(settings, sqlite_template, StockedCatalog()) as context,
    ):
        patience.setattr(prediction_routes, "FLUSH_TIMEOUT_SECONDS", 60.0)
        made = build_server(context)
        made.model_slot.swap(loaded(1))
        yield made


@pytest.fixture(scope="module")
def shared_client(shared_server: ApiServer) -> Iterator[httpx.Client]:
    """A client of the module's server, which each refusal leaves as it was."""
    with running(shared_server) as client:
        yield client


@pytest.fixture
def flaky(lite: AppContext) -> Flaky:
    """The database of `lite`, to send away."""
    assert isinstance(lite.database, Flaky)
    return lite.database


@pytest.fixture
def server(lite: AppContext, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """A server that answers with version 1 and is not started. Who asks for a prediction waits until it is written."""
    monkeypatch.setattr(prediction_routes, "FLUSH_TIMEOUT_SECONDS", 60.0)
    made = build_server(lite)
    made.model_slot.swap(loaded(1))
    return made


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    """The started server's client."""
    with running(server) as client:
        yield client


@contextmanager
def listening(server: ApiServer) -> Iterator[str]:
    """The server's app behind a socket of loopback, for clients that bring their own transport; its host and port."""
    running = build_http_server(server, "127.0.0.1", 0)
    thread = threading.Thread(target=running.run, name="api")
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not running.started and time.monotonic() < deadline:
            time.sleep(0.01)
        [sockets] = [each.sockets for each in running.servers]
        yield f"127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(30)
        forget_routes()


@pytest.fixture
def address(server: ApiServer) -> Iterator[str]:
    """Where the started server listens."""
    with listening(server) as address:
        yield address


def answered(server: ApiServer, asked: PredictRequest) -> PredictOut:
    """What a request is answered, without a socket."""
    return asyncio.run(server.prediction_service.predict(asked, b""))


GREY = picture(1)


def problem(answer: httpx.Response, status: int) -> str:
    """The detail of a problem document, after its form was checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert body["type"].startswith("urn:mlplatform:problem:")
    return str(body["detail"])


def predict(client: httpx.Client, images: int = 1, **fields: object) -> list[str]:
    answer = client.post("/v1/predict", json={"images": [GREY.tolist()] * images, **fields})
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["predictions"]]


def looking(seed: int) -> nn.Module:
    """A small network with a convolution, weights drawn by seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(196, 10))
