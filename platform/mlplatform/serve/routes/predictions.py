"""Routes of predictions: ask for one, look at a recorded one, its input and its explanation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from pydantic import TypeAdapter

from mlplatform.auth.caller import caller_of
from mlplatform.context import AppContext
from mlplatform.errors import BusyError, InvalidInputError, NotFoundError, TooLargeError
from mlplatform.operations import queries
from mlplatform.operations.prediction_view import PredictionDetail
from mlplatform.predictions import prediction_records
from mlplatform.predictions.prediction_ids import may_be_recorded_later
from mlplatform.recording.recorder import Recorder
from mlplatform.schema_base import NO_NUL_PATTERN
from mlplatform.serve.blocking_routes import ConcurrencyLimiter
from mlplatform.serve.inference.explanation_service import ExplanationService
from mlplatform.serve.inference.idempotency import IDEMPOTENCY_HEADER, idempotency_key
from mlplatform.serve.inference.predict import PredictionService, PredictRequest
from mlplatform.serve.inference.raw_tensor import RawTensor
from mlplatform.serve.inference.request_fields import SMALL_BODY_BYTES
from mlplatform.serve.middleware.fast_route import read_body
from mlplatform.serve.observability.trace_context import TRACEPARENT
from mlplatform.serve.openapi_examples import ID, MODEL, PIXELS, PNG, PREDICTION, TIMESTAMP, response_example
from mlplatform.serve.routes.request_body import JsonBody, PixelRows, Scalar, json_body_openapi, struct_for
from mlplatform.serve.schemas import PROBLEM_RESPONSES, ExplainIn, ExplainOut, PredictIn, PredictOut
from mlplatform.serve.thread_pool import ThreadPool
from mlplatform.store.prediction import PredictionRecord
from pipelines.edge.request_payloads import (
    MalformedFormError,
    MultipartForm,
    PayloadError,
    PayloadTooLargeError,
    parse_form,
)

T = TypeVar("T")
PathId = Annotated[str, Path(pattern=NO_NUL_PATTERN)]
FLUSH_TIMEOUT_SECONDS: Final = 1.0
PREDICT_EXAMPLE = {"request_id": "order-7", "predictions": [PREDICTION], "latency_ms": 1.2, "recorded": True}
EXPLANATION_EXAMPLE = {
    "label": "3",
    "answer": "3",
    "method": "grad-cam",
    "heat": [[0.0] * 28] * 28,
    "overlay": PNG,
    "probability": None,
    "columns": None,
    "model": MODEL,
    "prediction_id": ID,
}
DETAIL_EXAMPLE = PREDICTION | {
    "at": TIMESTAMP,
    "latency_ms": 1.2,
    "image_hash": "9f86d081" * 8,
    "request_id": "order-7",
    "client_id": "till",
    "tags": {"scanner": "flatbed"},
    "labels": [{"label": "5", "source": "audit", "at": TIMESTAMP}],
    "role": "champion",
    "shadows": [{name: PREDICTION[name] for name in ("label", "confidence", "probabilities", "model")}],
}


def predict_router(service: PredictionService) -> APIRouter:
    """POST /v1/predict, the only route of its router: it is called without FastAPI's machinery."""
    router = APIRouter(tags=["predict"], responses=PROBLEM_RESPONSES)

    @router.post(
        "/v1/predict",
        openapi_extra=_predict_openapi(),
        response_model=PredictOut,
        responses=response_example(PREDICT_EXAMPLE),
    )
    async def predict(request: Request) -> Response:
        """Answer one or many images; every answer is recorded under its id."""
        predict_request, content = await _read_predict_request(request, service)
        if not predict_request.client_id and (name := caller_of(request).name):
            predict_request = replace(predict_request, client_id=name)
        return Response(await service.predict_json(predict_request, content), media_type="application/json")

    return router


def _predict_openapi() -> dict[str, Any]:
    """The headers and the bodies that POST /v1/predict takes, one body for each content type."""

    def header(name: str, description: str) -> dict[str, Any]:
        return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}} | {
            "description": description
        }

    example = {"images": [PNG, PIXELS], "client_id": "till", "request_id": "order-7", "tags": {"scanner": "flatbed"}}
    document = json_body_openapi(TypeAdapter(PredictIn), example)
    binary, text = {"type": "string", "format": "binary"}, {"type": "string"}
    greys = "greys from 0 to 255 row by row, as x-tensor-dtype and x-tensor-shape say"
    form = {
        "files": {"type": "array", "items": binary},
        "client_id": text,
        "request_id": text,
        "tags": text | {"description": "a JSON object of names and texts"},
    }
    document["requestBody"]["content"] |= {
        "multipart/form-data": {"schema": {"type": "object", "properties": form}},
        "image/png": {"schema": binary},
        "image/jpeg": {"schema": binary},
        "application/octet-stream": {"schema": binary | {"description": greys}},
    }
    parameters = [
        header("x-request-id", "names the request where the body does not"),
        header("x-tensor-dtype", "of a raw tensor: uint8 (default) or float32, little-endian"),
        header("x-tensor-shape", "of a raw tensor: n,height,width; without it, as many as there are bytes for"),
        header("x-client-id", "of a raw tensor: who asks"),
        header("x-tags", "of a raw tensor: a JSON object of names and texts"),
    ]
    return {"parameters": parameters} | document


async def _read_predict_request(request: Request, service: PredictionService) -> tuple[PredictRequest, bytes]:
    """The request, and the content that one sent again under its idempotency key must repeat; b"" without a key."""
    headers = {name: value.decode("latin-1") for name, value in request.scope["headers"]}
    content_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    request_id, trace = headers.get(b"x-request-id", ""), headers.get(TRACEPARENT.encode(), "")
    key = idempotency_key(request) if IDEMPOTENCY_HEADER in headers else ""
    if content_type in ("application/json", ""):
        body = await read_body(request)
        return PredictRequest(body, request_id=request_id, idempotency_key=key, traceparent=trace), body
    if content_type == "application/octet-stream":
        body = await read_body(request)
        dtype_and_shape = headers.get(b"x-tensor-dtype", "uint8"), headers.get(b"x-tensor-shape", "")
        names = (headers.get(b"x-client-id", ""), request_id, headers.get(b"x-tags", ""))
        tensor = RawTensor(body, *dtype_and_shape)
        content = body + repr((names, dtype_and_shape)).encode() if key else b""
        return PredictRequest(None, (), *names, tensor, idempotency_key=key, traceparent=trace), content
    if content_type in ("image/png", "image/jpeg"):
        body = await read_body(request)
        return PredictRequest(images=(body,), request_id=request_id, idempotency_key=key, traceparent=trace), body
    if content_type == "multipart/form-data":
        body = await read_body(request)
        form = await _read_form(body, headers[b"content-type"], service.decoders.max_images, service.thread_pool)
        fields = form.fields
        names = (fields.get("client_id", ""), fields.get("request_id") or request_id, fields.get("tags", ""))
        content = b"".join(form.files) + repr(names).encode() if key else b""
        return PredictRequest(None, form.files, *names, idempotency_key=key, traceparent=trace), content
    raise InvalidInputError(
        f"content type {content_type[:40]!r} is not understood; send application/json, multipart/form-data, "
        "image/png, image/jpeg or application/octet-stream"
    )


async def _read_form(body: bytes, content_type: str, max_files: int, thread_pool: ThreadPool) -> MultipartForm:
    if len(body) <= SMALL_BODY_BYTES:
        return _parse_form(body, content_type, max_files)
    return await thread_pool.run(_parse_form, body, content_type, max_files)


def _parse_form(body: bytes, content_type: str, max_files: int) -> MultipartForm:
    try:
        return parse_form(body, content_type, max_files)
    except PayloadTooLargeError as error:
        raise TooLargeError(f"{error} (PLATFORM_MAX_IMAGES)") from error
    except MalformedFormError as error:
        raise HTTPException(400, str(error)) from error
    except PayloadError as error:
        raise InvalidInputError(str(error)) from error


def recorded_predictions_router(
    context: AppContext,
    recorder: Recorder,
    explanations: ExplanationService,
    explanation_limiter: ConcurrencyLimiter,
    route_limiter: ConcurrencyLimiter,
    thread_pool: ThreadPool,
) -> APIRouter:
    """Explanations, recorded predictions and their inputs. An explanation runs under `explanation_limiter`."""
    router = APIRouter(route_class=route_limiter.route_class(), tags=["predict"], responses=PROBLEM_RESPONSES)
    explain_body = JsonBody[ExplainIn](
        thread_pool,
        ExplainIn,
        struct_for(ExplainIn, image=PixelRows, row=dict[str, Scalar] | None),
        explanations.body_limits,
        example={"prediction_id": ID, "label": "3"},
    )

    @router.post(
        "/v1/explain",
        response_model=ExplainOut,
        responses={200: {"content": {"application/json": {"example": EXPLANATION_EXAMPLE}, "image/png": {}}}},
        openapi_extra=explain_body.openapi,
    )
    async def explain(body: Annotated[ExplainIn, Depends(explain_body)], request: Request) -> Response | ExplainOut:
        """What spoke for an answer: of a picture where the model looks (Grad-CAM), of a row what each column does.

        Of a picture `Accept: image/png` asks for the overlay alone.
        """
        if body.prediction_id is not None and body.image is None and body.row is None:
            row = await route_limiter.run(_load_recorded, context, recorder, body.prediction_id, _load_row)
            caller_of(request).check_model(row.model_name, f"prediction {body.prediction_id}")
        rendered = await explanation_limiter.run(explanations.explain, body)
        if rendered.png and "image/png" in request.headers.get("accept", ""):
            return Response(rendered.png, media_type="image/png")
        return rendered.body

    @router.get(
        "/v1/predictions/{prediction_id}/image",
        response_class=Response,
        responses=response_example("the PNG's bytes", "image/png"),
    )
    def image(prediction_id: PathId, request: Request) -> Response:
        """The picture of a recorded prediction, as PNG."""
        model, png = _load_recorded(context, recorder, prediction_id, _load_png)
        caller_of(request).check_model(model, f"prediction {prediction_id}")
        return Response(png, media_type="image/png")

    @router.get("/v1/predictions/{prediction_id}", responses=response_example(DETAIL_EXAMPLE))
    def prediction(prediction_id: PathId, request: Request) -> PredictionDetail:
        """A recorded prediction and its current labels."""
        detail = _load_recorded(context, recorder, prediction_id, queries.load_prediction)
        caller_of(request).check_model(detail.model.name, f"prediction {prediction_id}")
        return detail

    return router


def _load_recorded(
    context: AppContext, recorder: Recorder, prediction_id: str, load: Callable[[AppContext, str], T]
) -> T:
    """What `load` finds; a prediction answered a moment ago is waited for.

    Raises NotFoundError for one nobody made, BusyError where it may still be on its way to the database.
    """
    try:
        return load(context, prediction_id)
    except NotFoundError:
        if not may_be_recorded_later(prediction_id, context.clock()):
            raise
        settled = recorder.flush(FLUSH_TIMEOUT_SECONDS)
    try:
        return load(context, prediction_id)
    except NotFoundError as error:
        if settled:
            raise
        raise BusyError(f"{error}, but predictions of the last moments are still being written; ask again") from error


def _load_row(context: AppContext, prediction_id: str) -> PredictionRecord:
    with context.database.read() as connection:
        return prediction_records.find(connection, prediction_id)


def _load_png(context: AppContext, prediction_id: str) -> tuple[str, bytes]:
    """The model that was asked, and the picture."""
    with context.database.read() as connection:
        row = prediction_records.find(connection, prediction_id)
        return row.model_name, prediction_records.load_image(connection, row.image_hash)
