"""Routes for probes and Prometheus, answered on the event loop from memory: no thread, database or disk is waited for.

Anybody may ask for liveness and readiness, so they say what is wrong and not where: addresses, paths and digests are
for those with a key, and in the log.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from mlplatform.auth.caller import caller_of
from mlplatform.recording.recorder import Recorder
from mlplatform.schema_base import ApiModel, ModelName
from mlplatform.serve.http1.graceful_shutdown import ShutdownState
from mlplatform.serve.inference.model_reloader import ModelReloader
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.openapi_examples import MODEL, response_example
from mlplatform.serve.schemas import PROBLEM_RESPONSES

COALESCE_SECONDS: Final = 0.02
READY_EXAMPLE: Final = {
    "status": "ready",
    "model": MODEL,
    "reload_error": None,
    "recorder": dict.fromkeys(
        ("queued", "dropped", "failed", "refused", "adopted", "damaged", "set_aside", "database_replaced"), 0
    )
    | {"recorded": 120},
}


class AliveOut(ApiModel):
    """The process lives, for so many seconds."""

    status: Literal["alive"] = "alive"
    seconds: float


class RecorderOut(ApiModel):
    """How many predictions were recorded, wait or were lost since the start; see `RecorderCounts`."""

    recorded: int
    queued: int
    dropped: int
    failed: int
    refused: int
    adopted: int
    damaged: int
    set_aside: int
    database_replaced: int


class ReadyDetails(ApiModel):
    """What only those with a key are told."""

    reload_error: str | None


class ReadyOut(ApiModel):
    """Whether this server is to be asked, and what is wrong; `details` for those with a key."""

    status: Literal["ready", "no model", "stopping"]
    model: ModelName | None
    reload_error: str | None
    recorder: RecorderOut
    details: ReadyDetails | None = None


def health_router(
    model_slot: ModelSlot,
    reloader: ModelReloader,
    recorder: Recorder,
    shutdown_state: ShutdownState,
    exposition: Callable[[], bytes],
) -> APIRouter:
    """GET /healthz, /readyz and /metrics; `exposition` is the content of the last."""
    router = APIRouter(tags=["health"], responses=PROBLEM_RESPONSES)
    started_at = time.time()

    @router.get("/healthz", responses=response_example({"status": "alive", "seconds": 12.5}))
    async def alive() -> AliveOut:
        """The process lives."""
        return AliveOut(status="alive", seconds=round(time.time() - started_at, 1))

    @router.get("/readyz", response_model_exclude_unset=True, responses=response_example(READY_EXAMPLE))
    async def ready(request: Request, response: Response) -> ReadyOut:
        """Ready when a model is loaded and the server is not stopping; says what else is wrong."""
        model = model_slot.current
        view = ReadyOut(
            status="stopping" if shutdown_state.has_started else "no model" if model is None else "ready",
            model=None if model is None else ModelName(name=model.name, version=model.version),
            reload_error=reloader.public_error,
            recorder=RecorderOut(**vars(recorder.counts())),
        )
        if caller_of(request).key_id:
            view = view.model_copy(update={"details": ReadyDetails(reload_error=reloader.error)})
        response.status_code = 200 if view.status == "ready" else 503
        return view

    exposed = CoalescedCall(exposition, COALESCE_SECONDS)

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=response_example('mlplatform_predictions_total{version="7"} 120.0\n', "text/plain"),
    )
    async def metrics() -> Response:
        """Prometheus exposition."""
        return Response(await exposed.result(), media_type="text/plain; version=0.0.4")

    return router


class CoalescedCall:
    """A result that takes a while to make, made once for all who ask within a moment, after the last of them asked."""

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
