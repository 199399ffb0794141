"""The Open Inference Protocol v2 (KServe, Triton) over HTTP: routes and documents; it decodes and answers nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any, Final

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from mlplatform.errors import NotFoundError
from mlplatform.promotion.rollouts import CANARY
from mlplatform.serve.inference.idempotency import named_key
from mlplatform.serve.inference.image_codec import Decoder, Sent, check_text, read_tags
from mlplatform.serve.inference.model_slot import Loaded
from mlplatform.serve.inference.predict import Asked, ask
from mlplatform.serve.observability.trace_context import HEADER as TRACE
from mlplatform.serve.protocols.v2_tensors import INPUT, OUTPUTS, Inference, Output, read, write
from mlplatform.serve.schemas import PredictOut
from mlplatform.serve.state import Server

LENGTH: Final = "inference-header-content-length"
EXTENSIONS: Final = ("binary_tensor_data", "classification")
ERROR: Final[dict[str, Any]] = {
    "description": "An error of the protocol",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}
ERRORS: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys((404, 409, 413, 422, 503), ERROR)
TENSOR: Final[dict[str, Any]] = {
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
INFER_BODY: Final[dict[str, Any]] = {
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
                        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": TENSOR},
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
class Door:
    """One request on its way in: its bytes, and after decoding what they ask for."""

    body: bytes
    header: str | None
    inference: Inference | None = None

    def read(self, decoder: Decoder) -> Inference:
        """What the bytes ask for."""
        return read(self.body, self.header, decoder.check_amounts)

    def decode(self, decoder: Decoder) -> Sent:
        """The images and names of the request."""
        self.inference = inference = self.read(decoder)
        client_id = inference.parameters.get("client_id", "")
        for name, text in (("client_id", client_id), ("id", inference.id)):
            check_text(text, name)
        tags = read_tags(inference.parameters.get("tags", "{}"))  # parameters of the protocol hold no objects
        return Sent(inference.greys(decoder), {"client_id": client_id, "request_id": inference.id}, tags)


def add_inference(app: FastAPI, server: Server) -> None:
    """Let the app speak the protocol."""
    _describe(app, server)

    @app.post("/v2/models/{name}/infer", openapi_extra=INFER_BODY, tags=["inference v2"], responses=ERRORS)
    async def infer(name: str, request: Request) -> Response:
        """Answer the images of a tensor; every answer is recorded under its prediction id."""
        return await _infer(server, name, None, request)

    @app.post(
        "/v2/models/{name}/versions/{version}/infer",
        openapi_extra=INFER_BODY,
        tags=["inference v2"],
        responses=ERRORS,
    )
    async def infer_by(name: str, version: str, request: Request) -> Response:
        """The same by one version, which must be serving: the champion's, or a canary's."""
        return await _infer(server, name, version, request)


def _describe(app: FastAPI, server: Server) -> None:
    about: dict[str, Any] = {"tags": ["inference v2"], "responses": ERRORS}

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
        return JSONResponse(_model(server, _find(server, name, None)))

    @app.get("/v2/models/{name}/versions/{version}", **about)
    async def model_by(name: str, version: str) -> JSONResponse:
        """The same of one version."""
        return JSONResponse(_model(server, _find(server, name, version)))

    @app.get("/v2/models/{name}/ready", **about)
    async def model_ready(name: str) -> JSONResponse:
        """The model answers."""
        return _readiness(server, _find(server, name, None))

    @app.get("/v2/models/{name}/versions/{version}/ready", **about)
    async def model_ready_by(name: str, version: str) -> JSONResponse:
        """That version answers."""
        return _readiness(server, _find(server, name, version))


def _readiness(server: Server, loaded: Loaded) -> JSONResponse:
    return JSONResponse({"name": loaded.name, "ready": server.ready}, 200 if server.ready else 400)


def _find(server: Server, name: str, version: str | None) -> Loaded:
    """The loaded model of that name and version; raises NotFoundError, and ModelUnavailableError before the first."""
    _check_name(server, name)
    loaded = server.holder.take()
    tried = server.challenger.beside(loaded)
    if version is not None and version != str(loaded.version):
        if tried is not None and tried.trial.role == CANARY and version == str(tried.loaded.version):
            return tried.loaded
        raise NotFoundError(f"version {version[:20]!r} does not serve; version {loaded.version} does")
    return loaded


def _check_name(server: Server, name: str) -> None:
    served = server.parts.family.name
    if name != served:
        raise NotFoundError(f"model {name[:40]!r} is not served here; {served!r} is")


def _model(server: Server, loaded: Loaded) -> Mapping[str, Any]:
    family, classes = server.parts.family, len(loaded.predictor.classes)
    return {
        "name": loaded.name,
        "versions": [str(loaded.version)],
        "platform": "pytorch_export",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, 1, family.height, family.width]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
        ],
    }


async def _infer(server: Server, name: str, version: str | None, request: Request) -> Response:
    _check_name(server, name)
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 10):
        raise NotFoundError(f"version {version[:20]!r} is no number")
    body = await request.body()
    door = Door(body, request.headers.get(LENGTH))
    asked = Asked(
        request_id=request.headers.get("x-request-id", ""),
        decode=door.decode,
        version=None if version is None else int(version),
        key=named_key(request),
        trace=request.headers.get(TRACE, ""),
    )
    made = await ask(server, asked, body)
    inference = door.inference
    if inference is None:  # an answer given again was not decoded again
        inference = await server.pool.run(door.read, server.decoder)
    content, length = write(_document(made, inference, name), _outputs(made), inference)
    headers = {} if length is None else {LENGTH: str(length)}
    kind = "application/json" if length is None else "application/octet-stream"
    return Response(content, headers=headers, media_type=kind)


def _document(made: PredictOut, inference: Inference, name: str) -> dict[str, Any]:
    return {
        "model_name": name,
        "model_version": str(made.predictions[0].model.version),
        "id": inference.id or made.request_id,
        "parameters": {"latency_ms": made.latency_ms, "recorded": made.recorded},
    }


def _outputs(made: PredictOut) -> list[Output]:
    rows = made.predictions
    return [
        Output("label", np.array([row.label for row in rows], dtype=np.object_)),
        Output("confidence", np.asarray([row.confidence for row in rows], dtype=np.float32)),
        Output(
            "probabilities",
            np.asarray([list(row.probabilities.values()) for row in rows], dtype=np.float32),
            tuple(rows[0].probabilities),
        ),
        Output("prediction_id", np.array([row.id for row in rows], dtype=np.object_)),
    ]
