"""The JSON documents of the Open Inference Protocol v2, as frozen pydantic models, OpenAPI and examples."""

from typing import Annotated, Any, Final

from pydantic import Field, JsonValue, WithJsonSchema

from mlplatform.schema_base import ApiModel
from mlplatform.serve.openapi_examples import ID
from mlplatform.serve.protocols.v2_tensors import OUTPUTS
from mlplatform.serve.schemas import JsonObject

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
        "datatype": {
            "type": "string",
            "description": "pictures: FP32 from 0 to 1, or UINT8 from 0 to 255; columns: numbers, BOOL, BYTES",
        },
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "description": "numbers, flat or nested; absent where binary_data_size is given"},
    },
}
SERVER_EXAMPLE: Final = {"name": "mlplatform", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
MODEL_READY_EXAMPLE: Final = {"name": "digits", "ready": True}
MODEL_EXAMPLE: Final = {
    "name": "digits",
    "versions": ["7"],
    "platform": "pytorch_export",
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1]}],
}
INFER_REQUEST_EXAMPLE: Final = {
    "id": "order-7",
    "parameters": {"client_id": "till", "tags": '{"scanner": "flatbed"}'},
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}],
    "outputs": [{"name": "label"}, {"name": "prediction_id"}],
}
INFER_RESPONSE_EXAMPLE: Final = {
    "model_name": "digits",
    "model_version": "7",
    "id": "order-7",
    "parameters": {"latency_ms": 1.2, "recorded": True},
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["3"]},
        {"name": "prediction_id", "datatype": "BYTES", "shape": [1], "data": [ID]},
    ],
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
                            "description": "client_id; tags, references, subjects (JSON as text); binary_data_output",
                        },
                        "inputs": {"type": "array", "minItems": 1, "items": TENSOR_SCHEMA},
                        "outputs": {
                            "type": "array",
                            "maxItems": len(OUTPUTS),
                            "description": "each once; probabilities takes the parameter classification",
                            "items": {"type": "object", "required": ["name"]},
                        },
                    },
                },
                "example": INFER_REQUEST_EXAMPLE,
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


class ServerMetadata(ApiModel):
    """The server's name, version and extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class LiveOut(ApiModel):
    """The process lives."""

    live: bool


class ServerReadyOut(ApiModel):
    """Whether the server is to be asked."""

    ready: bool


class ModelReadyOut(ApiModel):
    """Whether a model answers."""

    name: str
    ready: bool


class TensorMetadata(ApiModel):
    """Name, type and shape of a tensor; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(ApiModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InferTensorOut(ApiModel):
    """One output: its values as `data`, or after the JSON where the parameters say `binary_data_size`."""

    name: str
    datatype: str
    shape: list[int]
    parameters: JsonObject = Field(default_factory=dict)
    data: Annotated[list[JsonValue], WithJsonSchema({"type": "array", "items": {}})] = Field(default_factory=list)


class InferOut(ApiModel):
    """The JSON of an answer; it documents, because the tensors may follow as bytes."""

    model_name: str
    model_version: str
    id: str
    parameters: JsonObject
    outputs: list[InferTensorOut]
