"""The HTTP face of the platform: routes, each a few lines; it holds no state and decides nothing."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from mlplatform.audit import audit_entries
from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.feedback.review_tasks import MOST_AT_ONCE, next_answers
from mlplatform.monitoring.report_files import whole_page
from mlplatform.operations import queries
from mlplatform.operations.operator_actions import acknowledge_alert, cancel_retraining
from mlplatform.operations.prediction_view import PredictionDetail
from mlplatform.predictions import prediction_records
from mlplatform.retraining import retraining_queue
from mlplatform.schema_base import NO_NUL
from mlplatform.serialization import plain
from mlplatform.serve.inference.idempotency import named_key
from mlplatform.serve.inference.image_codec import SMALL_BODY
from mlplatform.serve.inference.predict import Asked, reply
from mlplatform.serve.middleware.auth_middleware import caller_of
from mlplatform.serve.middleware.body_limit import BodyLimit
from mlplatform.serve.middleware.metrics_middleware import Counting
from mlplatform.serve.middleware.path_prefix import CutOff, PutBack
from mlplatform.serve.middleware.security import install_doors
from mlplatform.serve.observability.trace_context import HEADER as TRACE
from mlplatform.serve.problem_details import install
from mlplatform.serve.protocols.kserve_v2 import add_inference
from mlplatform.serve.protocols.mlflow_scoring import add_invocations
from mlplatform.serve.protocols.raw_tensor import Tensor
from mlplatform.serve.routes.fast_route import Lane, body_of
from mlplatform.serve.routes.feedback_service import take_labels
from mlplatform.serve.routes.health import add_health
from mlplatform.serve.routes.openapi_examples import show_examples
from mlplatform.serve.routes.request_body import JsonBody, Rows, shape_of
from mlplatform.serve.routes.rollout_routes import add_trials
from mlplatform.serve.schemas import (
    PREDICT_BODY,
    PROBLEMS,
    ExplainIn,
    ExplainOut,
    FeedbackBody,
    FeedbackMany,
    FeedbackOut,
    PredictOut,
    RetrainIn,
    RetrainOut,
    ReviewMany,
    ReviewOut,
)
from mlplatform.serve.state import Server
from mlplatform.web import dashboard
from pipelines.edge.request_payloads import (
    Amounts,
    BrokenFormError,
    Form,
    PayloadError,
    PayloadTooLargeError,
    read_form,
)

DESCRIPTION = "Predictions, labelled feedback by prediction id, retraining and the models behind them."

EXPLAIN_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
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
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours (`telemetry.py`) knows the stages
    )
    app.router.route_class = server.turns.route()
    install(app)
    if prefix := server.parts.settings.root_path:
        app.add_middleware(PutBack, prefix=prefix)
    app.add_middleware(Lane, route=_predictions(app, server))
    app.add_middleware(BodyLimit, limit=int(server.parts.settings.max_body_mb * 2**20))
    app.add_middleware(Counting, metrics=server.metrics, requests=server.requests)
    add_inference(app, server)
    add_invocations(app, server)
    _feedback(app, server)
    _models(app, server)
    add_trials(app, server)
    add_health(app, server)
    _pages(app, server)
    show_examples(app)
    install_doors(app, server)
    if prefix:
        app.add_middleware(CutOff, prefix=prefix)
    return app


def _predictions(app: FastAPI, server: Server) -> APIRoute:
    """The routes about predictions; returns the one that answers pictures."""

    @app.post("/v1/predict", openapi_extra=PREDICT_BODY, tags=["predict"], response_model=PredictOut)
    async def predict(request: Request) -> Response:
        """Answer one or many images; every answer is recorded under its id."""
        asked, content = await _asked(server, request)
        if not asked.client_id and (name := caller_of(request).name):
            asked = replace(asked, client_id=name)
        return Response(await reply(server, asked, content), media_type="application/json")

    answering = app.router.routes[-1]
    assert isinstance(answering, APIRoute)

    one = Amounts.of_pictures(1, server.decoder.height, server.decoder.width)
    asked_for = JsonBody[ExplainIn](server.pool, ExplainIn, shape_of(ExplainIn, image=Rows), one)

    @app.post(
        "/v1/explain",
        tags=["predict"],
        response_model=ExplainOut,
        responses=EXPLAIN_PNG,
        openapi_extra=asked_for.openapi,
    )
    async def explain(body: Annotated[ExplainIn, Depends(asked_for)], request: Request) -> Response | ExplainOut:
        """Where the model looks, by Grad-CAM: JSON, or the overlay alone for `Accept: image/png`."""
        if body.prediction_id is not None:
            await server.turns.run(server.recorder.flush, 1.0)
        made = await server.explaining_turns.run(server.explaining.explain, body)
        if "image/png" in request.headers.get("accept", ""):
            return Response(made.png, media_type="image/png")
        return made.shown

    @app.get("/v1/predictions/{prediction_id}/image", tags=["predict"], response_class=Response)
    def image(prediction_id: PathId) -> Response:
        """The picture of a recorded prediction, as PNG."""
        with server.parts.database.read() as connection:
            row = prediction_records.find(connection, prediction_id)
            png = prediction_records.image(connection, row.image_hash)
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    @app.get("/v1/predictions/{prediction_id}", tags=["predict"])
    def prediction(prediction_id: PathId) -> PredictionDetail:
        """A recorded prediction and its current labels."""
        server.recorder.flush(1.0)
        return queries.prediction(server.parts, prediction_id)

    return answering


async def _asked(server: Server, request: Request) -> tuple[Asked, bytes]:
    """What is asked, and the content that a request sent again under its key must repeat; unread without a key."""
    told = {name: value.decode("latin-1") for name, value in request.scope["headers"]}
    kind = told.get(b"content-type", "").partition(";")[0].strip().lower()
    request_id, key = told.get(b"x-request-id", ""), named_key(request)
    trace = told.get(TRACE.encode(), "")
    if kind == "application/octet-stream":
        body = await body_of(request)
        kinds = told.get(b"x-tensor-dtype", "uint8"), told.get(b"x-tensor-shape", "")
        named = (told.get(b"x-client-id", ""), request_id, told.get(b"x-tags", ""))
        content = body + repr((named, kinds)).encode() if key else b""
        return Asked(None, (), *named, Tensor(body, *kinds), key=key, trace=trace), content
    if kind in ("application/json", ""):
        body = await body_of(request)
        return Asked(body, request_id=request_id, key=key, trace=trace), body
    if kind in ("image/png", "image/jpeg"):
        body = await body_of(request)
        return Asked(pictures=(body,), request_id=request_id, key=key, trace=trace), body
    if kind == "multipart/form-data":
        body = await body_of(request)
        sent_as = (body, told[b"content-type"], server.decoder.max_images)
        form = _form(*sent_as) if len(body) <= SMALL_BODY else await server.pool.run(_form, *sent_as)
        texts = form.fields
        named = (texts.get("client_id", ""), texts.get("request_id") or request_id, texts.get("tags", ""))
        content = b"".join(form.files) + repr(named).encode() if key else b""
        return Asked(None, form.files, *named, key=key, trace=trace), content
    raise InvalidInputError(
        f"content type {kind[:40]!r} is not understood; send application/json, multipart/form-data, "
        "image/png, image/jpeg or application/octet-stream"
    )


def _form(body: bytes, content_type: str, most_files: int) -> Form:
    try:
        return read_form(body, content_type, most_files)
    except PayloadTooLargeError as error:
        raise TooLargeError(f"{error} (PLATFORM_MAX_IMAGES)") from error
    except BrokenFormError as error:
        raise HTTPException(400, str(error)) from error
    except PayloadError as error:
        raise InvalidInputError(str(error)) from error


def _feedback(app: FastAPI, server: Server) -> None:
    labels = list[shape_of(FeedbackIn, strict=True)]  # type: ignore[misc, valid-type]
    given = JsonBody[FeedbackIn | FeedbackMany](server.pool, FeedbackBody, shape_of(FeedbackIn, feedback=labels))

    @app.post("/v1/feedback", tags=["feedback"], openapi_extra=given.openapi)
    def feedback(body: Annotated[FeedbackIn | FeedbackMany, Depends(given)], request: Request) -> list[FeedbackOut]:
        """Take one label or many, by prediction id; sending the same again changes nothing."""
        items = body.feedback if isinstance(body, FeedbackMany) else [body]
        taken = take_labels(server, items, caller_of(request))
        for item, outcome in zip(items, taken, strict=True):
            server.metrics.feedback.labels(item.source, outcome.outcome).inc()
        return taken

    @app.get("/v1/audit/next", tags=["feedback"])
    def next_review(
        request: Request,
        reviewer: Annotated[str, Query(max_length=200, pattern=NO_NUL)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = 1,
    ) -> ReviewMany:
        """The next drawn answers to label with `source: audit`, held for the reviewer for a quarter of an hour."""
        reviewer = reviewer or caller_of(request).name
        if not reviewer:
            raise InvalidInputError("say who reviews: ?reviewer=NAME, or use a key")
        found = next_answers(server.parts, reviewer, limit)
        answers = [
            ReviewOut(
                prediction_id=each.prediction_id, at=each.at, image=b64encode(each.png).decode(), until=each.until
            )
            for each in found
            if each.until is not None
        ]
        return ReviewMany(answers=answers, classes=list(server.parts.family.classes))


def _models(app: FastAPI, server: Server) -> None:
    wish = JsonBody[RetrainIn](server.pool, RetrainIn)

    @app.post("/v1/retrain", status_code=202, tags=["retrain"], openapi_extra=wish.openapi)
    def retrain(body: Annotated[RetrainIn, Depends(wish)], request: Request) -> RetrainOut:
        """Queue a retraining, or join the one that is queued."""
        caller = caller_of(request)
        asked_by = body.requested_by or caller.name or "api"
        with server.parts.database.write() as connection:
            queued, fresh = retraining_queue.request(
                connection,
                pipeline=server.parts.family.name,
                reason=body.reason,
                trigger="api",
                requested_by=asked_by,
                now=server.parts.clock(),
            )
            subject = f"retraining/{queued}"
            details = {"reason": body.reason} | ({"key": caller.key_id, "by": asked_by} if caller.key_id else {})
            audit_entries.note(
                connection, caller.name or asked_by, "ask-retrain", subject, server.parts.clock(), details
            )
        return RetrainOut(id=queued, joined=not fresh)

    @app.get("/v1/retrainings/{retraining_id}", tags=["retrain"])
    def retraining(retraining_id: PathId) -> JSONResponse:
        """A retraining: its state, progress, verdict and candidate."""
        with server.parts.database.read() as connection:
            return JSONResponse(plain(retraining_queue.find(connection, retraining_id)))

    @app.delete("/v1/retrainings/{retraining_id}", status_code=204, tags=["retrain"])
    def cancel(retraining_id: PathId, request: Request) -> None:
        """Cancel a queued or running retraining; the champion stays."""
        cancel_retraining(server.parts, retraining_id, caller_of(request).name or "api")

    @app.get("/v1/models", tags=["models"])
    def models() -> JSONResponse:
        """Registered versions, the champion and the history of promotions."""
        return JSONResponse(queries.models(server.parts))

    @app.get("/v1/evaluations/{evaluation_id}/report", tags=["monitors"])
    def report(evaluation_id: PathId) -> HTMLResponse:
        """Evidently's HTML report of an evaluation, while it is kept; that of each alert is kept with the alert."""
        page = whole_page(queries.report(server.parts, evaluation_id))
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


def _pages(app: FastAPI, server: Server) -> None:
    @app.get("/", include_in_schema=False)
    @app.get("/alerts", include_in_schema=False)
    def overview() -> HTMLResponse:
        """The platform at a glance."""
        return HTMLResponse(dashboard.overview(server.parts), headers={"content-security-policy": dashboard.POLICY})

    @app.get("/alerts/{alert_id}", include_in_schema=False)
    def alert(alert_id: PathId) -> HTMLResponse:
        """One alert explained."""
        text = dashboard.alert_page(server.parts, alert_id)
        return HTMLResponse(text, headers={"content-security-policy": dashboard.POLICY})

    @app.post("/alerts/{alert_id}/acknowledge", include_in_schema=False)
    def take_on(alert_id: PathId, request: Request) -> RedirectResponse:
        """Acknowledge a firing alert from its page; the guard refuses a form of another site."""
        acknowledge_alert(server.parts, alert_id, caller_of(request).name or "dashboard")
        return RedirectResponse(f"../{alert_id}", status_code=303)
