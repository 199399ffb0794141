"""Requests counted by route and by how they end, as plain ASGI around the whole app; it looks at no content."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlplatform.serve.metrics import Metrics
from mlplatform.serve.requests import WENT_AWAY, RequestCounts, asks_for_answers


class Counting:
    """ASGI middleware; the monitors look at how requests for answers ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics, requests: RequestCounts) -> None:
        self._app, self._metrics, self._requests = app, metrics, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what an exception on its way out becomes

        async def noticing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noticing)
        except (ClientDisconnect, asyncio.CancelledError):
            status = WENT_AWAY
            raise
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.request(getattr(scope.get("route"), "path", "unknown"), status)
            if scope["method"] == "POST" and asks_for_answers(scope["path"]):  # the limit answers before a route
                self._requests.count(status)
