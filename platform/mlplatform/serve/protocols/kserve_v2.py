"""The Open Inference Protocol v2 (KServe, Triton) over HTTP: its routes and documents."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import JsonValue

from mlplatform.errors import NotFoundError
from mlplatform.promotion.rollouts import CANARY_ROLE
from mlplatform.serve.inference.decoded_request import DecodedRequest
from mlplatform.serve.inference.idempotency import idempotency_key
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from mlplatform.serve.inference.predict import PredictionService, PredictRequest
from mlplatform.serve.inference.request_decoder import Decoder
from mlplatform.serve.inference.request_fields import (
    parse_row_texts,
    parse_tags_text,
    refuse_subjects,
    validate_references,
    validate_tags,
    validate_text,
)
from mlplatform.serve.inference.rollout_router import RolloutRouter
from mlplatform.serve.inference.row_decoder import RowDecoder
from mlplatform.serve.observability.trace_context import TRACEPARENT
from mlplatform.serve.openapi_examples import response_example
from mlplatform.serve.protocols.v2_columns import column_datatype, read_columns
from mlplatform.serve.protocols.v2_schemas import (
    ERROR_RESPONSES,
    INFER_OPENAPI,
    INFER_RESPONSE_EXAMPLE,
    MODEL_EXAMPLE,
    MODEL_READY_EXAMPLE,
    SERVER_EXAMPLE,
    InferOut,
    LiveOut,
    ModelMetadata,
    ModelReadyOut,
    ServerMetadata,
    ServerReadyOut,
    TensorMetadata,
)
from mlplatform.serve.protocols.v2_tensors import (
    INPUT,
    InferenceRequest,
    ResponseOutput,
    parse_request,
    render_response,
)
from mlplatform.serve.schemas import PROBLEM_RESPONSES, PredictOut
from pipelines.answers import ClassReader
from registry.model_contract import ImageInputs, Inputs, TableInputs

JSON_LENGTH_HEADER: Final = "inference-header-content-length"
EXTENSIONS: Final = ("binary_tensor_data", "classification")


@dataclass
class V2Request:
    """One request on its way in: its bytes, and after decoding what they ask for."""

    body: bytes
    json_length: str | None
    inference_request: InferenceRequest | None = None

    def parse(self, decoder: Decoder) -> InferenceRequest:
        """What the bytes ask for."""
        return parse_request(self.body, self.json_length, decoder.check_amounts)

    def decode(self, decoder: Decoder) -> DecodedRequest:
        """The pictures or rows and the names of the request."""
        self.inference_request = inference = self.parse(decoder)
        client_id = inference.parameters.get("client_id", "")
        for name, text in (("client_id", client_id), ("id", inference.id)):
            validate_text(text, name)
        tags = parse_tags_text(inference.parameters.get("tags", "{}"))  # parameters of the protocol hold no objects
        fields = {"client_id": client_id, "request_id": inference.id}
        references, subjects = (
            parse_row_texts(inference.parameters.get(name, "null"), name) for name in ("references", "subjects")
        )
        if isinstance(decoder, RowDecoder):
            parsed = read_columns(inference.tensors, inference.rest, decoder)
            return decoder.request_of(parsed, {**fields, "references": references, "subjects": subjects, "tags": tags})
        refuse_subjects(subjects)
        batch = inference.to_model_input(decoder)
        return DecodedRequest(batch, fields, validate_tags(tags), validate_references(references, len(batch)))


@dataclass(frozen=True)
class V2Models:
    """The loaded versions by the names and numbers under which the protocol asks for them."""

    name: str
    model_slot: ModelSlot
    rollout_router: RolloutRouter

    def find(self, name: str, version: str | None) -> LoadedModel:
        """The loaded model of that name and version.

        Raises NotFoundError, and ModelUnavailableError before the first.
        """
        self.check_name(name)
        champion = self.model_slot.get()
        challenger = self.rollout_router.for_champion(champion)
        if version is not None and version != str(champion.version):
            if (
                challenger is not None
                and challenger.rollout.role == CANARY_ROLE
                and version == str(challenger.model.version)
            ):
                return challenger.model
            raise NotFoundError(f"version {version[:20]!r} does not serve; version {champion.version} does")
        return champion

    def check_name(self, name: str) -> None:
        """Raise NotFoundError for the name of another model."""
        if name != self.name:
            raise NotFoundError(f"model {name[:40]!r} is not served here; {self.name!r} is")

    def metadata(self, model: LoadedModel) -> ModelMetadata:
        """What the model takes and gives."""
        reader = model.predictor.reader
        columns = len(reader.names) if isinstance(reader, ClassReader) else -1
        shapes = {
            "label": ("BYTES", [-1]),
            "confidence": ("FP32", [-1]),
            "probabilities": ("FP32", [-1, columns]),
            "prediction_id": ("BYTES", [-1]),
        }
        return ModelMetadata(
            name=model.name,
            versions=[str(model.version)],
            platform="pytorch_export" if isinstance(model.predictor.inputs, ImageInputs) else "onnx_onnxv1",
            inputs=_input_metadata(model.predictor.inputs),
            outputs=[
                TensorMetadata(name=name, datatype=datatype, shape=shape) for name, (datatype, shape) in shapes.items()
            ],
        )


def _input_metadata(inputs: Inputs) -> list[TensorMetadata]:
    if isinstance(inputs, TableInputs):
        return [
            TensorMetadata(name=column.name, datatype=column_datatype(column), shape=[-1, 1])
            for column in inputs.columns
        ]
    if isinstance(inputs, ImageInputs):
        return [TensorMetadata(name=INPUT, datatype="FP32", shape=[-1, 1, inputs.height, inputs.width])]
    return []


def v2_metadata_router(models: V2Models, is_ready: Callable[[], bool]) -> APIRouter:
    """The server's and the models' metadata, liveness and readiness."""
    router = APIRouter(tags=["inference v2"], responses=PROBLEM_RESPONSES | ERROR_RESPONSES)

    @router.get("/v2", responses=response_example(SERVER_EXAMPLE))
    async def metadata() -> ServerMetadata:
        """The server's name, version and extensions."""
        return ServerMetadata(name="mlplatform", version=version_of("mlplatform"), extensions=list(EXTENSIONS))

    @router.get("/v2/health/live", responses=response_example({"live": True}))
    async def live() -> LiveOut:
        """The process lives."""
        return LiveOut(live=True)

    @router.get("/v2/health/ready", responses=response_example({"ready": True}))
    async def ready(response: Response) -> ServerReadyOut:
        """Whether a model is loaded and the server is not about to end: 200, or 400 as the protocol has it."""
        response.status_code = 200 if is_ready() else 400
        return ServerReadyOut(ready=response.status_code == 200)

    @router.get("/v2/models/{name}", responses=response_example(MODEL_EXAMPLE))
    async def model(name: str) -> ModelMetadata:
        """What the model takes and gives."""
        return models.metadata(models.find(name, None))

    @router.get("/v2/models/{name}/versions/{version}", responses=response_example(MODEL_EXAMPLE))
    async def model_by(name: str, version: str) -> ModelMetadata:
        """The same of one version."""
        return models.metadata(models.find(name, version))

    @router.get("/v2/models/{name}/ready", responses=response_example(MODEL_READY_EXAMPLE))
    async def model_ready(name: str, response: Response) -> ModelReadyOut:
        """The model answers."""
        loaded = models.find(name, None)
        response.status_code = 200 if is_ready() else 400
        return ModelReadyOut(name=loaded.name, ready=response.status_code == 200)

    @router.get("/v2/models/{name}/versions/{version}/ready", responses=response_example(MODEL_READY_EXAMPLE))
    async def model_ready_by(name: str, version: str, response: Response) -> ModelReadyOut:
        """That version answers."""
        loaded = models.find(name, version)
        response.status_code = 200 if is_ready() else 400
        return ModelReadyOut(name=loaded.name, ready=response.status_code == 200)

    return router


def v2_infer_router(service: PredictionService, models: V2Models) -> APIRouter:
    """Inference by whichever version serves, and by one version."""
    router = APIRouter(tags=["inference v2"], responses=PROBLEM_RESPONSES | ERROR_RESPONSES)
    options: dict[str, Any] = {
        "openapi_extra": INFER_OPENAPI,
        "response_model": InferOut,
        "responses": response_example(INFER_RESPONSE_EXAMPLE),
    }

    @router.post("/v2/models/{name}/infer", **options)
    async def infer(name: str, request: Request) -> Response:
        """Answer the images of a tensor; every answer is recorded under its prediction id."""
        models.check_name(name)
        return await _infer(service, name, None, request)

    @router.post("/v2/models/{name}/versions/{version}/infer", **options)
    async def infer_by(name: str, version: str, request: Request) -> Response:
        """The same by one version, which must be serving: the champion's, or a canary's."""
        models.check_name(name)
        if not (version.isascii() and version.isdigit() and len(version) < 10):
            raise NotFoundError(f"version {version[:20]!r} is no number")
        return await _infer(service, name, int(version), request)

    return router


async def _infer(service: PredictionService, name: str, version: int | None, request: Request) -> Response:
    body = await request.body()
    v2_request = V2Request(body, request.headers.get(JSON_LENGTH_HEADER))
    predict_request = PredictRequest(
        request_id=request.headers.get("x-request-id", ""),
        decode=v2_request.decode,
        version=version,
        idempotency_key=idempotency_key(request),
        traceparent=request.headers.get(TRACEPARENT, ""),
    )
    result = await service.predict(predict_request, body)
    inference_request = v2_request.inference_request
    if inference_request is None:  # an answer given again was not decoded again
        decoder = service.decoders.of(service.model_slot.get().predictor)
        inference_request = await service.thread_pool.run(v2_request.parse, decoder)
    content, json_length = render_response(
        _response_document(result, inference_request, name), _response_outputs(result), inference_request
    )
    headers = {} if json_length is None else {JSON_LENGTH_HEADER: str(json_length)}
    media_type = "application/json" if json_length is None else "application/octet-stream"
    return Response(content, headers=headers, media_type=media_type)


def _response_document(response: PredictOut, inference_request: InferenceRequest, name: str) -> dict[str, JsonValue]:
    return {
        "model_name": name,
        "model_version": str(response.predictions[0].model.version),
        "id": inference_request.id or response.request_id,
        "parameters": {"latency_ms": response.latency_ms, "recorded": response.recorded},
    }


def _shares(rows: list[list[float]]) -> NDArray[np.float32]:
    """One row of shares for each answer; behind the end of a shorter text there is 0."""
    width = max(map(len, rows), default=0)
    return np.array([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=np.float32).reshape(len(rows), width)


def _response_outputs(response: PredictOut) -> list[ResponseOutput]:
    rows = response.predictions
    return [
        ResponseOutput("label", np.array([row.label for row in rows], dtype=np.object_)),
        ResponseOutput("confidence", np.asarray([row.confidence for row in rows], dtype=np.float32)),
        ResponseOutput(
            "probabilities",
            _shares([list(row.probabilities.values()) or row.characters for row in rows]),
            tuple(rows[0].probabilities),
        ),
        ResponseOutput("prediction_id", np.array([row.id for row in rows], dtype=np.object_)),
    ]
