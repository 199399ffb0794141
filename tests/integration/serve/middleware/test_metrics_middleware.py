"""Every request is counted once, with the status it ended with and the route that took it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.middleware.metrics_middleware import MetricsMiddleware

App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Seen:
    """What was counted."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.routes: list[tuple[str, int]] = []

    def count(self, status: int) -> None:
        self.statuses.append(status)

    def count_request(self, route: str, status: int) -> None:
        self.routes.append((route, status))


def ending(status: int | BaseException) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(status, BaseException):
            raise status
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


def counted(status: int | BaseException, method: str = "POST", path: str = "/v1/predict") -> Seen:
    seen = Seen()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None: ...

    app = MetricsMiddleware(ending(status), seen, seen)  # type: ignore[arg-type]
    scope = {"type": "http", "method": method, "path": path}
    if isinstance(status, BaseException) and not isinstance(status, ClientDisconnect):
        with pytest.raises(type(status)):
            asyncio.run(app(scope, receive, send))
    else:
        asyncio.run(app(scope, receive, send))
    return seen


@pytest.mark.parametrize(
    ("ends", "status"),
    [(200, 200), (413, 413), (ValueError("x"), 500), (ClientDisconnect(), 499)],
)
def test_a_request_is_counted_with_the_status_it_ended_with(ends: int | BaseException, status: int) -> None:
    seen = counted(ends)
    assert (seen.statuses, seen.routes) == ([status], [("unknown", status)])


def test_a_request_that_the_end_of_the_server_breaks_off_is_told_so() -> None:
    seen, sent = Seen(), list[Message]()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ended() -> None:
        app = MetricsMiddleware(ending(asyncio.CancelledError()), seen, seen)  # type: ignore[arg-type]
        await app({"type": "http", "method": "POST", "path": "/v1/predict"}, receive, send)

    asyncio.run(ended())
    assert (sent[0]["status"], seen.statuses) == (503, [503])
    assert b"stopped before it could answer" in sent[1]["body"]


def test_only_prediction_requests_are_told_to_the_monitors() -> None:
    assert counted(200, "GET").statuses == []
    assert counted(200, path="/healthz").statuses == []


def test_a_server_names_the_route(lite: AppContext) -> None:
    server: ApiServer = build_server(lite)
    server.metrics.count_request("/v1/predict", 200)
    server.metrics.count_request("/v1/predict", 200)
    assert b'mlplatform_requests_total{route="/v1/predict",status="200"} 2.0' in server.metrics.exposition()
    server.batcher.close()
