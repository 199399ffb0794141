"""Counts requests by route and status, for Prometheus and for the monitors of availability.

The `traceparent` that a request came with is sent back with the response.
"""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlplatform.recording.request_counts import CLIENT_CLOSED_REQUEST, RequestCounts, is_prediction_request
from mlplatform.serve.middleware.body_limit import CLIENT_DISCONNECTED
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.observability.trace_context import TRACEPARENT, parse_traceparent
from mlplatform.serve.problem_details import problem_response

STOPPING_DETAIL: Final = "this server stopped before it could answer; ask another, or again in a moment"
_TRACEPARENT_HEADER: Final = TRACEPARENT.encode()


class MetricsMiddleware:
    """ASGI middleware; the monitors look at how requests for answers ended."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, requests: RequestCounts) -> None:
        self._app, self._metrics, self._requests = app, metrics, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        status = 500  # what an exception on its way out becomes
        sent = next((value for name, value in scope.get("headers", ()) if name == _TRACEPARENT_HEADER), b"").decode(
            "latin-1"
        )

        async def noticing(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                if sent and parse_traceparent(sent) is not None:
                    message["headers"] = [*message.get("headers", ()), (_TRACEPARENT_HEADER, sent.strip().encode())]
            await send(message)

        try:
            await self._app(scope, receive, noticing)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST  # nobody is there to be answered, and nothing failed
        except asyncio.CancelledError:  # the server ends, and this request took too long for it
            if started:
                status = CLIENT_CLOSED_REQUEST
                raise
            await problem_response(503, "stopping", "The server stops", STOPPING_DETAIL, scope["path"])(
                scope, receive, noticing
            )
        except Exception:
            status = 500
            raise
        finally:
            status = CLIENT_CLOSED_REQUEST if CLIENT_DISCONNECTED in scope else status  # whatever the app made of it
            self._metrics.count_request(getattr(scope.get("route"), "path", "unknown"), status)
            if scope["method"] == "POST" and is_prediction_request(scope["path"]):  # the limit answers before a route
                self._requests.count(status)
