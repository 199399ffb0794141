"""The HTTP face of the platform: routes, each a few lines; it holds no state and decides nothing."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.datastructures import UploadFile

from mlplatform import views
from mlplatform.errors import InvalidInputError
from mlplatform.serve.answer import Asked, answer
from mlplatform.serve.bodies import (
    NO_NUL,
    PREDICT_BODY,
    PROBLEMS,
    FeedbackBody,
    FeedbackMany,
    FeedbackOut,
    PredictionDetail,
    PredictOut,
    RetrainIn,
    RetrainOut,
)
from mlplatform.serve.labels import take_labels
from mlplatform.serve.limits import BodyLimit
from mlplatform.serve.problems import install
from mlplatform.serve.server import Server
from mlplatform.store import audit, retrainings

DESCRIPTION = "Predictions, labelled feedback by prediction id, retraining and the models behind them."

PathId = Annotated[str, Path(pattern=NO_NUL)]
REPORT_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def create_app(server: Server) -> FastAPI:
    """The app of one server; starting it starts the server's parts, stopping it closes them."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        server.close()

    app: FastAPI = FastAPIOffline(
        title="mlplatform",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=PROBLEMS,
    )
    install(app)
    app.add_middleware(BodyLimit, limit=int(server.parts.settings.max_body_mb * 2**20))
    _count_requests(app, server)
    _predictions(app, server)
    _feedback(app, server)
    _models(app, server)
    _health(app, server)
    return app


def _count_requests(app: FastAPI, server: Server) -> None:
    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        status = 500  # what an exception on its way out becomes
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            server.metrics.requests.labels(getattr(route, "path", "unknown"), str(status)).inc()


def _predictions(app: FastAPI, server: Server) -> None:
    @app.post("/v1/predict", openapi_extra=PREDICT_BODY, tags=["predict"])
    async def predict(request: Request) -> PredictOut:
        """Answer one or many images; every answer is recorded under its id."""
        asked = await _asked(request)
        return await server.pool.run(answer, server, asked)

    @app.get("/v1/predictions/{prediction_id}", tags=["predict"])
    def prediction(prediction_id: PathId) -> PredictionDetail:
        """A recorded prediction and its current labels."""
        server.recorder.flush(1.0)
        return views.prediction(server.parts, prediction_id)


async def _asked(request: Request) -> Asked:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    request_id = request.headers.get("x-request-id", "")
    if kind in ("application/json", ""):
        return Asked(await request.body(), (), request_id=request_id)
    if kind in ("image/png", "image/jpeg"):
        return Asked(None, (await request.body(),), request_id=request_id)
    if kind == "multipart/form-data":
        async with request.form(max_files=1000, max_fields=10) as form:
            files = [item for _, item in form.multi_items() if isinstance(item, UploadFile)]
            texts = {key: item for key, item in form.multi_items() if isinstance(item, str)}
            pictures = tuple([await file.read() for file in files])
            return Asked(None, pictures, texts.get("client_id", ""), texts.get("request_id") or request_id)
    raise InvalidInputError(
        f"content type {kind!r} is not understood; send application/json, multipart/form-data, image/png or image/jpeg"
    )


def _feedback(app: FastAPI, server: Server) -> None:
    @app.post("/v1/feedback", tags=["feedback"])
    def feedback(body: FeedbackBody) -> list[FeedbackOut]:
        """Take one label or many, by prediction id; sending the same again changes nothing."""
        items = body.feedback if isinstance(body, FeedbackMany) else [body]
        taken = take_labels(server, items)
        for item, outcome in zip(items, taken, strict=True):
            server.metrics.feedback.labels(item.source, outcome.outcome).inc()
        return taken


def _models(app: FastAPI, server: Server) -> None:
    @app.post("/v1/retrain", status_code=202, tags=["retrain"])
    def retrain(body: RetrainIn) -> RetrainOut:
        """Queue a retraining, or join the one that is queued."""
        with server.parts.database.write() as connection:
            queued, fresh = retrainings.request(
                connection,
                pipeline=server.parts.family.name,
                reason=body.reason,
                trigger="api",
                requested_by=body.requested_by,
                now=server.parts.clock(),
            )
            subject = f"retraining/{queued}"
            audit.note(
                connection, body.requested_by, "ask-retrain", subject, server.parts.clock(), {"reason": body.reason}
            )
        return RetrainOut(id=queued, joined=not fresh)

    @app.get("/v1/retrainings/{retraining_id}", tags=["retrain"])
    def retraining(retraining_id: PathId) -> JSONResponse:
        """A retraining: its state, progress, verdict and candidate."""
        with server.parts.database.read() as connection:
            return JSONResponse(views.plain(retrainings.find(connection, retraining_id)))

    @app.delete("/v1/retrainings/{retraining_id}", status_code=204, tags=["retrain"])
    def cancel(retraining_id: PathId) -> None:
        """Cancel a queued or running retraining; the champion stays."""
        now = server.parts.clock()
        with server.parts.database.write() as connection:
            retrainings.cancel(connection, retraining_id, "api", now)
            audit.note(connection, "api", "cancel", f"retraining/{retraining_id}", now)

    @app.get("/v1/models", tags=["models"])
    def models() -> JSONResponse:
        """Registered versions, the champion and the history of promotions."""
        return JSONResponse(views.models(server.parts))

    @app.get("/v1/evaluations/{evaluation_id}/report", tags=["monitors"])
    def report(evaluation_id: PathId) -> FileResponse:
        """Evidently's HTML report of an evaluation, while it is kept."""
        path = views.report(server.parts, evaluation_id)
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def _health(app: FastAPI, server: Server) -> None:
    started = time.time()

    @app.get("/healthz", tags=["health"])
    def alive() -> dict[str, float | str]:
        """The process lives."""
        return {"status": "alive", "seconds": round(time.time() - started, 1)}

    @app.get("/readyz", tags=["health"])
    def ready() -> JSONResponse:
        """Ready when a model is loaded; says what else is wrong."""
        loaded = server.holder.loaded
        body = {
            "status": "ready" if loaded is not None else "no model",
            "model": None if loaded is None else {"name": loaded.name, "version": loaded.version},
            "reload_error": server.reloader.error,
            "recorder": vars(server.recorder.counts()),
        }
        return JSONResponse(body, 200 if loaded is not None else 503)

    @app.get("/metrics", tags=["health"])
    def metrics() -> Response:
        """Prometheus exposition."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")
