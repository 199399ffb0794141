"""What probes and Prometheus ask, answered on the event loop from memory: no thread, database or disk is waited for.

Anybody may ask for liveness and readiness, so they tell what is wrong and not where: addresses, paths and digests are
for those with a key, and in the log.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from mlplatform.serve.middleware.auth_middleware import caller_of
from mlplatform.serve.state import ApiServer

COALESCE_SECONDS: Final = 0.02


def add_health_routes(app: FastAPI, server: ApiServer) -> None:
    """Let the app say how it is."""
    started = time.time()

    @app.get("/healthz", tags=["health"])
    async def alive() -> dict[str, float | str]:
        """The process lives."""
        return {"status": "alive", "seconds": round(time.time() - started, 1)}

    @app.get("/readyz", tags=["health"])
    async def ready(request: Request) -> JSONResponse:
        """Ready when a model is loaded and the server is not stopping; says what else is wrong."""
        loaded, reloader = server.model_slot.current, server.reloader
        status = "stopping" if server.shutdown_state.has_started else "no model" if loaded is None else "ready"
        body: dict[str, Any] = {
            "status": status,
            "model": None if loaded is None else {"name": loaded.name, "version": loaded.version},
            "reload_error": reloader.public_error,
            "recorder": vars(server.recorder.counts()),
        }
        if caller_of(request).key_id:
            body["details"] = {"reload_error": reloader.error}
        return JSONResponse(body, 200 if status == "ready" else 503)

    exposition = CoalescedCall(server.metrics.exposition, COALESCE_SECONDS)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Prometheus exposition."""
        return Response(await exposition.result(), media_type="text/plain; version=0.0.4")


class CoalescedCall:
    """What takes a while to make, made once for all who ask within a moment, and after the last of them asked."""

    def __init__(self, make: Callable[[], bytes], moment: float) -> None:
        self._compute, self._delay_seconds = make, moment
        self._task: asyncio.Task[bytes] | None = None

    async def result(self) -> bytes:
        """It, as it is a moment from now."""
        if self._task is None:
            self._task = asyncio.create_task(self._compute_after_delay())
        return await asyncio.shield(self._task)

    async def _compute_after_delay(self) -> bytes:
        await asyncio.sleep(self._delay_seconds)
        self._task = None
        return self._compute()
