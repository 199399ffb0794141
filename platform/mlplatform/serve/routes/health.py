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
from mlplatform.serve.state import Server

SHARED_SECONDS: Final = 0.02


def add_health(app: FastAPI, server: Server) -> None:
    """Let the app say how it is."""
    started = time.time()

    @app.get("/healthz", tags=["health"])
    async def alive() -> dict[str, float | str]:
        """The process lives."""
        return {"status": "alive", "seconds": round(time.time() - started, 1)}

    @app.get("/readyz", tags=["health"])
    async def ready(request: Request) -> JSONResponse:
        """Ready when a model is loaded and the server is not stopping; says what else is wrong."""
        loaded, reloader = server.holder.loaded, server.reloader
        status = "stopping" if server.ending.begun else "no model" if loaded is None else "ready"
        body: dict[str, Any] = {
            "status": status,
            "model": None if loaded is None else {"name": loaded.name, "version": loaded.version},
            "reload_error": reloader.reason,
            "recorder": vars(server.recorder.counts()),
        }
        if caller_of(request).key_id:
            body["details"] = {"reload_error": reloader.error}
        return JSONResponse(body, 200 if status == "ready" else 503)

    exposition = Shared(server.metrics.text, SHARED_SECONDS)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Prometheus exposition."""
        return Response(await exposition.made(), media_type="text/plain; version=0.0.4")


class Shared:
    """What takes a while to make, made once for all who ask within a moment, and after the last of them asked."""

    def __init__(self, make: Callable[[], bytes], moment: float) -> None:
        self._make, self._moment = make, moment
        self._making: asyncio.Task[bytes] | None = None

    async def made(self) -> bytes:
        """It, as it is a moment from now."""
        if self._making is None:
            self._making = asyncio.create_task(self._soon())
        return await asyncio.shield(self._making)

    async def _soon(self) -> bytes:
        await asyncio.sleep(self._moment)
        self._making = None
        return self._make()
