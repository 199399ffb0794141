"""What probes and Prometheus ask, answered on the event loop from memory: no thread, no database and no disk is waited for.

Anybody may ask for liveness and readiness, so they tell what is wrong and not where: addresses, paths and digests are
for those with a key, and in the log.
"""

import time
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from mlplatform.serve.guard import caller_of
from mlplatform.serve.server import Server


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

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Prometheus exposition."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")
