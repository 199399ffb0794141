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
from mlplatform.feedback.review_tasks import MAX_ITEMS, claim_items
from mlplatform.monitoring.report_files import inline_scripts
from mlplatform.operations import queries
from mlplatform.operations.operator_actions import acknowledge_alert, cancel_retraining
from mlplatform.operations.prediction_view import PredictionDetail
from mlplatform.predictions import prediction_records
from mlplatform.retraining import retraining_queue
from mlplatform.schema_base import NO_NUL_PATTERN
from mlplatform.serialization import to_jsonable
from mlplatform.serve.inference.idempotency import idempotency_key
from mlplatform.serve.inference.image_codec import SMALL_BODY_BYTES
from mlplatform.serve.inference.predict import PredictRequest, predict_json
from mlplatform.serve.middleware.auth_middleware import caller_of
from mlplatform.serve.middleware.body_limit import BodyLimitMiddleware
from mlplatform.serve.middleware.metrics_middleware import MetricsMiddleware
from mlplatform.serve.middleware.path_prefix import RestorePrefixMiddleware, StripPrefixMiddleware
from mlplatform.serve.middleware.security import add_security
from mlplatform.serve.observability.trace_context import TRACEPARENT as TRACE
from mlplatform.serve.problem_details import add_error_handlers
from mlplatform.serve.protocols.kserve_v2 import add_v2_routes
from mlplatform.serve.protocols.mlflow_scoring import add_mlflow_routes
from mlplatform.serve.protocols.raw_tensor import RawTensor
from mlplatform.serve.routes.fast_route import FastRouteMiddleware, read_body
from mlplatform.serve.routes.feedback_service import accept_feedback
from mlplatform.serve.routes.health import add_health_routes
from mlplatform.serve.routes.openapi_examples import add_examples
from mlplatform.serve.routes.request_body import JsonBody, PixelRows, struct_for
from mlplatform.serve.routes.rollout_routes import add_rollout_routes
from mlplatform.serve.schemas import (
    PREDICT_OPENAPI,
    PROBLEM_RESPONSES,
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
from mlplatform.serve.state import ApiServer
from mlplatform.web import dashboard
from pipelines.edge.request_payloads import (
    JsonLimits,
    MalformedFormError,
    MultipartForm,
    PayloadError,
    PayloadTooLargeError,
    parse_form,
)

DESCRIPTION = "Predictions, labelled feedback by prediction id, retraining and the models behind them."

PNG_RESPONSE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
PathId = Annotated[str, Path(pattern=NO_NUL_PATTERN)]
REPORT_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def create_app(server: ApiServer) -> FastAPI:
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
        responses=PROBLEM_RESPONSES,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours (`telemetry.py`) knows the stages
    )
    app.router.route_class = server.route_limiter.route_class()
    add_error_handlers(app)
    if prefix := server.context.settings.root_path:
        app.add_middleware(RestorePrefixMiddleware, prefix=prefix)
    app.add_middleware(FastRouteMiddleware, route=_add_prediction_routes(app, server))
    app.add_middleware(BodyLimitMiddleware, max_bytes=int(server.context.settings.max_body_mb * 2**20))
    app.add_middleware(MetricsMiddleware, metrics=server.metrics, requests=server.request_counts)
    add_v2_routes(app, server)
    add_mlflow_routes(app, server)
    _add_feedback_routes(app, server)
    _add_model_routes(app, server)
    add_rollout_routes(app, server)
    add_health_routes(app, server)
    _add_pages(app, server)
    add_examples(app)
    add_security(app, server)
    if prefix:
        app.add_middleware(StripPrefixMiddleware, prefix=prefix)
    return app


def _add_prediction_routes(app: FastAPI, server: ApiServer) -> APIRoute:
    """The routes about predictions; returns the one that answers pictures."""

    @app.post("/v1/predict", openapi_extra=PREDICT_OPENAPI, tags=["predict"], response_model=PredictOut)
    async def predict(request: Request) -> Response:
        """Answer one or many images; every answer is recorded under its id."""
        asked, content = await _read_predict_request(server, request)
        if not asked.client_id and (name := caller_of(request).name):
            asked = replace(asked, client_id=name)
        return Response(await predict_json(server, asked, content), media_type="application/json")

    answering = app.router.routes[-1]
    assert isinstance(answering, APIRoute)

    one = JsonLimits.for_images(1, server.decoder.height, server.decoder.width)
    asked_for = JsonBody[ExplainIn](server.thread_pool, ExplainIn, struct_for(ExplainIn, image=PixelRows), one)

    @app.post(
        "/v1/explain",
        tags=["predict"],
        response_model=ExplainOut,
        responses=PNG_RESPONSE,
        openapi_extra=asked_for.openapi,
    )
    async def explain(body: Annotated[ExplainIn, Depends(asked_for)], request: Request) -> Response | ExplainOut:
        """Where the model looks, by Grad-CAM: JSON, or the overlay alone for `Accept: image/png`."""
        if body.prediction_id is not None:
            await server.route_limiter.run(server.recorder.flush, 1.0)
        made = await server.explanation_limiter.run(server.explanation_service.explain, body)
        if "image/png" in request.headers.get("accept", ""):
            return Response(made.png, media_type="image/png")
        return made.body

    @app.get("/v1/predictions/{prediction_id}/image", tags=["predict"], response_class=Response)
    def image(prediction_id: PathId) -> Response:
        """The picture of a recorded prediction, as PNG."""
        with server.context.database.read() as connection:
            row = prediction_records.find(connection, prediction_id)
            png = prediction_records.load_image(connection, row.image_hash)
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    @app.get("/v1/predictions/{prediction_id}", tags=["predict"])
    def prediction(prediction_id: PathId) -> PredictionDetail:
        """A recorded prediction and its current labels."""
        server.recorder.flush(1.0)
        return queries.load_prediction(server.context, prediction_id)

    return answering


async def _read_predict_request(server: ApiServer, request: Request) -> tuple[PredictRequest, bytes]:
    """What is asked, and the content that a request sent again under its key must repeat; unread without a key."""
    told = {name: value.decode("latin-1") for name, value in request.scope["headers"]}
    kind = told.get(b"content-type", "").partition(";")[0].strip().lower()
    request_id, key = told.get(b"x-request-id", ""), idempotency_key(request)
    trace = told.get(TRACE.encode(), "")
    if kind == "application/octet-stream":
        body = await read_body(request)
        kinds = told.get(b"x-tensor-dtype", "uint8"), told.get(b"x-tensor-shape", "")
        named = (told.get(b"x-client-id", ""), request_id, told.get(b"x-tags", ""))
        content = body + repr((named, kinds)).encode() if key else b""
        return PredictRequest(
            None, (), *named, RawTensor(body, *kinds), idempotency_key=key, traceparent=trace
        ), content
    if kind in ("application/json", ""):
        body = await read_body(request)
        return PredictRequest(body, request_id=request_id, idempotency_key=key, traceparent=trace), body
    if kind in ("image/png", "image/jpeg"):
        body = await read_body(request)
        return PredictRequest(images=(body,), request_id=request_id, idempotency_key=key, traceparent=trace), body
    if kind == "multipart/form-data":
        body = await read_body(request)
        sent_as = (body, told[b"content-type"], server.decoder.max_images)
        form = (
            _parse_form(*sent_as)
            if len(body) <= SMALL_BODY_BYTES
            else await server.thread_pool.run(_parse_form, *sent_as)
        )
        texts = form.fields
        named = (texts.get("client_id", ""), texts.get("request_id") or request_id, texts.get("tags", ""))
        content = b"".join(form.files) + repr(named).encode() if key else b""
        return PredictRequest(None, form.files, *named, idempotency_key=key, traceparent=trace), content
    raise InvalidInputError(
        f"content type {kind[:40]!r} is not understood; send application/json, multipart/form-data, "
        "image/png, image/jpeg or application/octet-stream"
    )


def _parse_form(body: bytes, content_type: str, max_files: int) -> MultipartForm:
    try:
        return parse_form(body, content_type, max_files)
    except PayloadTooLargeError as error:
        raise TooLargeError(f"{error} (PLATFORM_MAX_IMAGES)") from error
    except MalformedFormError as error:
        raise HTTPException(400, str(error)) from error
    except PayloadError as error:
        raise InvalidInputError(str(error)) from error


def _add_feedback_routes(app: FastAPI, server: ApiServer) -> None:
    labels = list[struct_for(FeedbackIn, strict=True)]  # type: ignore[misc, valid-type]
    given = JsonBody[FeedbackIn | FeedbackMany](
        server.thread_pool, FeedbackBody, struct_for(FeedbackIn, feedback=labels)
    )

    @app.post("/v1/feedback", tags=["feedback"], openapi_extra=given.openapi)
    def feedback(body: Annotated[FeedbackIn | FeedbackMany, Depends(given)], request: Request) -> list[FeedbackOut]:
        """Take one label or many, by prediction id; sending the same again changes nothing."""
        items = body.feedback if isinstance(body, FeedbackMany) else [body]
        taken = accept_feedback(server, items, caller_of(request))
        for item, outcome in zip(items, taken, strict=True):
            server.metrics.feedback.labels(item.source, outcome.outcome).inc()
        return taken

    @app.get("/v1/audit/next", tags=["feedback"])
    def next_review(
        request: Request,
        reviewer: Annotated[str, Query(max_length=200, pattern=NO_NUL_PATTERN)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_ITEMS)] = 1,
    ) -> ReviewMany:
        """The next drawn answers to label with `source: audit`, held for the reviewer for a quarter of an hour."""
        reviewer = reviewer or caller_of(request).name
        if not reviewer:
            raise InvalidInputError("say who reviews: ?reviewer=NAME, or use a key")
        found = claim_items(server.context, reviewer, limit)
        answers = [
            ReviewOut(
                prediction_id=each.prediction_id,
                at=each.at,
                image=b64encode(each.png).decode(),
                until=each.claimed_until,
            )
            for each in found
            if each.claimed_until is not None
        ]
        return ReviewMany(answers=answers, classes=list(server.context.pipeline.classes))


def _add_model_routes(app: FastAPI, server: ApiServer) -> None:
    wish = JsonBody[RetrainIn](server.thread_pool, RetrainIn)

    @app.post("/v1/retrain", status_code=202, tags=["retrain"], openapi_extra=wish.openapi)
    def retrain(body: Annotated[RetrainIn, Depends(wish)], request: Request) -> RetrainOut:
        """Queue a retraining, or join the one that is queued."""
        caller = caller_of(request)
        asked_by = body.requested_by or caller.name or "api"
        with server.context.database.write() as connection:
            queued, fresh = retraining_queue.request(
                connection,
                pipeline=server.context.pipeline.name,
                reason=body.reason,
                trigger="api",
                requested_by=asked_by,
                now=server.context.clock(),
            )
            subject = f"retraining/{queued}"
            details = {"reason": body.reason} | ({"key": caller.key_id, "by": asked_by} if caller.key_id else {})
            audit_entries.append(
                connection, caller.name or asked_by, "ask-retrain", subject, server.context.clock(), details
            )
        return RetrainOut(id=queued, joined=not fresh)

    @app.get("/v1/retrainings/{retraining_id}", tags=["retrain"])
    def retraining(retraining_id: PathId) -> JSONResponse:
        """A retraining: its state, progress, verdict and candidate."""
        with server.context.database.read() as connection:
            return JSONResponse(to_jsonable(retraining_queue.find(connection, retraining_id)))

    @app.delete("/v1/retrainings/{retraining_id}", status_code=204, tags=["retrain"])
    def cancel(retraining_id: PathId, request: Request) -> None:
        """Cancel a queued or running retraining; the champion stays."""
        cancel_retraining(server.context, retraining_id, caller_of(request).name or "api")

    @app.get("/v1/models", tags=["models"])
    def models() -> JSONResponse:
        """Registered versions, the champion and the history of promotions."""
        return JSONResponse(to_jsonable(queries.model_overview(server.context)))

    @app.get("/v1/evaluations/{evaluation_id}/report", tags=["monitors"])
    def report(evaluation_id: PathId) -> HTMLResponse:
        """Evidently's HTML report of an evaluation, while it is kept; that of each alert is kept with the alert."""
        page = inline_scripts(queries.find_report(server.context, evaluation_id))
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


def _add_pages(app: FastAPI, server: ApiServer) -> None:
    @app.get("/", include_in_schema=False)
    @app.get("/alerts", include_in_schema=False)
    def overview() -> HTMLResponse:
        """The platform at a glance."""
        return HTMLResponse(
            dashboard.overview_page(server.context),
            headers={"content-security-policy": dashboard.CONTENT_SECURITY_POLICY},
        )

    @app.get("/alerts/{alert_id}", include_in_schema=False)
    def alert(alert_id: PathId) -> HTMLResponse:
        """One alert explained."""
        text = dashboard.alert_page(server.context, alert_id)
        return HTMLResponse(text, headers={"content-security-policy": dashboard.CONTENT_SECURITY_POLICY})

    @app.post("/alerts/{alert_id}/acknowledge", include_in_schema=False)
    def take_on(alert_id: PathId, request: Request) -> RedirectResponse:
        """Acknowledge a firing alert from its page; the guard refuses a form of another site."""
        acknowledge_alert(server.context, alert_id, caller_of(request).name or "dashboard")
        return RedirectResponse(f"../{alert_id}", status_code=303)
