"""The Open Inference Protocol v2 (KServe, Triton) over HTTP: routes and documents; it decodes and answers nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any, Final

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from mlplatform.errors import NotFoundError
from mlplatform.promotion.rollouts import CANARY_ROLE
from mlplatform.serve.inference.idempotency import idempotency_key
from mlplatform.serve.inference.image_codec import DecodedRequest, ImageDecoder, parse_tags, validate_text
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.predict import PredictRequest, predict
from mlplatform.serve.observability.trace_context import TRACEPARENT as TRACE
from mlplatform.serve.protocols.v2_tensors import (
    INPUT,
    OUTPUTS,
    InferenceRequest,
    ResponseOutput,
    parse_request,
    render_response,
)
from mlplatform.serve.schemas import PredictOut
from mlplatform.serve.state import ApiServer

JSON_LENGTH_HEADER: Final = "inference-header-content-length"
EXTENSIONS: Final = ("binary_tensor_data", "classification")
ERROR_RESPONSE: Final[dict[str, Any]] = {
    "description": "An error of the protocol",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}
ERROR_RESPONSES: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys((404, 409, 413, 422, 503), ERROR_RESPONSE)
TENSOR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "description": "FP32 from 0 to 1, or UINT8 from 0 to 255"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "description": "numbers, flat or nested; absent where binary_data_size is given"},
    },
}
INFER_OPENAPI: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": ["string", "null"], "description": "kept as the request id"},
                        "parameters": {
                            "type": "object",
                            "description": "client_id, tags (a JSON object as text), binary_data_output",
                        },
                        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": TENSOR_SCHEMA},
                        "outputs": {
                            "type": "array",
                            "maxItems": len(OUTPUTS),
                            "description": "each once; probabilities takes the parameter classification",
                            "items": {"type": "object", "required": ["name"]},
                        },
                    },
                }
            },
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "JSON of Inference-Header-Content-Length bytes, then the tensor's bytes",
                }
            },
        },
    }
}


@dataclass
class V2Request:
    """One request on its way in: its bytes, and after decoding what they ask for."""

    body: bytes
    json_length: str | None
    inference_request: InferenceRequest | None = None

    def parse(self, decoder: ImageDecoder) -> InferenceRequest:
        """What the bytes ask for."""
        return parse_request(self.body, self.json_length, decoder.check_amounts)

    def decode(self, decoder: ImageDecoder) -> DecodedRequest:
        """The images and names of the request."""
        self.inference_request = inference = self.parse(decoder)
        client_id = inference.parameters.get("client_id", "")
        for name, text in (("client_id", client_id), ("id", inference.id)):
            validate_text(text, name)
        tags = parse_tags(inference.parameters.get("tags", "{}"))  # parameters of the protocol hold no objects
        return DecodedRequest(
            inference.to_model_input(decoder), {"client_id": client_id, "request_id": inference.id}, tags
        )


def add_v2_routes(app: FastAPI, server: ApiServer) -> None:
    """Let the app speak the protocol."""
    _add_metadata_routes(app, server)

    @app.post("/v2/models/{name}/infer", openapi_extra=INFER_OPENAPI, tags=["inference v2"], responses=ERROR_RESPONSES)
    async def infer(name: str, request: Request) -> Response:
        """Answer the images of a tensor; every answer is recorded under its prediction id."""
        return await _infer(server, name, None, request)

    @app.post(
        "/v2/models/{name}/versions/{version}/infer",
        openapi_extra=INFER_OPENAPI,
        tags=["inference v2"],
        responses=ERROR_RESPONSES,
    )
    async def infer_by(name: str, version: str, request: Request) -> Response:
        """The same by one version, which must be serving: the champion's, or a canary's."""
        return await _infer(server, name, version, request)


def _add_metadata_routes(app: FastAPI, server: ApiServer) -> None:
    about: dict[str, Any] = {"tags": ["inference v2"], "responses": ERROR_RESPONSES}

    @app.get("/v2", **about)
    async def metadata() -> JSONResponse:
        """The server's name, version and extensions."""
        return JSONResponse({"name": "mlplatform", "version": version_of("mlplatform"), "extensions": list(EXTENSIONS)})

    @app.get("/v2/health/live", **about)
    async def live() -> JSONResponse:
        """The process lives."""
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", **about)
    async def ready() -> JSONResponse:
        """Whether a model is loaded and the server is not about to end: 200, or 400 as the protocol has it."""
        return JSONResponse({"ready": server.ready}, 200 if server.ready else 400)

    @app.get("/v2/models/{name}", **about)
    async def model(name: str) -> JSONResponse:
        """What the model takes and gives."""
        return JSONResponse(_model_metadata(server, _find_model(server, name, None)))

    @app.get("/v2/models/{name}/versions/{version}", **about)
    async def model_by(name: str, version: str) -> JSONResponse:
        """The same of one version."""
        return JSONResponse(_model_metadata(server, _find_model(server, name, version)))

    @app.get("/v2/models/{name}/ready", **about)
    async def model_ready(name: str) -> JSONResponse:
        """The model answers."""
        return _readiness_response(server, _find_model(server, name, None))

    @app.get("/v2/models/{name}/versions/{version}/ready", **about)
    async def model_ready_by(name: str, version: str) -> JSONResponse:
        """That version answers."""
        return _readiness_response(server, _find_model(server, name, version))


def _readiness_response(server: ApiServer, model: LoadedModel) -> JSONResponse:
    return JSONResponse({"name": model.name, "ready": server.ready}, 200 if server.ready else 400)


def _find_model(server: ApiServer, name: str, version: str | None) -> LoadedModel:
    """The loaded model of that name and version; raises NotFoundError, and ModelUnavailableError before the first."""
    _check_name(server, name)
    loaded = server.model_slot.get()
    tried = server.rollout_router.for_champion(loaded)
    if version is not None and version != str(loaded.version):
        if tried is not None and tried.rollout.role == CANARY_ROLE and version == str(tried.model.version):
            return tried.model
        raise NotFoundError(f"version {version[:20]!r} does not serve; version {loaded.version} does")
    return loaded


def _check_name(server: ApiServer, name: str) -> None:
    served = server.context.pipeline.name
    if name != served:
        raise NotFoundError(f"model {name[:40]!r} is not served here; {served!r} is")


def _model_metadata(server: ApiServer, loaded_model: LoadedModel) -> Mapping[str, Any]:
    family, classes = server.context.pipeline, len(loaded_model.predictor.classes)
    return {
        "name": loaded_model.name,
        "versions": [str(loaded_model.version)],
        "platform": "pytorch_export",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, 1, family.height, family.width]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
        ],
    }


async def _infer(server: ApiServer, name: str, version: str | None, request: Request) -> Response:
    _check_name(server, name)
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 10):
        raise NotFoundError(f"version {version[:20]!r} is no number")
    body = await request.body()
    door = V2Request(body, request.headers.get(JSON_LENGTH_HEADER))
    asked = PredictRequest(
        request_id=request.headers.get("x-request-id", ""),
        decode=door.decode,
        version=None if version is None else int(version),
        idempotency_key=idempotency_key(request),
        traceparent=request.headers.get(TRACE, ""),
    )
    made = await predict(server, asked, body)
    inference = door.inference_request
    if inference is None:  # an answer given again was not decoded again
        inference = await server.thread_pool.run(door.parse, server.decoder)
    content, length = render_response(_response_document(made, inference, name), _response_outputs(made), inference)
    headers = {} if length is None else {JSON_LENGTH_HEADER: str(length)}
    kind = "application/json" if length is None else "application/octet-stream"
    return Response(content, headers=headers, media_type=kind)


def _response_document(response: PredictOut, inference_request: InferenceRequest, name: str) -> dict[str, Any]:
    return {
        "model_name": name,
        "model_version": str(response.predictions[0].model.version),
        "id": inference_request.id or response.request_id,
        "parameters": {"latency_ms": response.latency_ms, "recorded": response.recorded},
    }


def _response_outputs(response: PredictOut) -> list[ResponseOutput]:
    rows = response.predictions
    return [
        ResponseOutput("label", np.array([row.label for row in rows], dtype=np.object_)),
        ResponseOutput("confidence", np.asarray([row.confidence for row in rows], dtype=np.float32)),
        ResponseOutput(
            "probabilities",
            np.asarray([list(row.probabilities.values()) for row in rows], dtype=np.float32),
            tuple(rows[0].probabilities),
        ),
        ResponseOutput("prediction_id", np.array([row.id for row in rows], dtype=np.object_)),
    ]
