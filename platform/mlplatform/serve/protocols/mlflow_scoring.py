"""MLflow's scoring protocol: `/invocations` in its four JSON forms, `/ping` and `/version`.

A row is one picture: base64 of a PNG or JPEG, rows of grey values from 0 to 255, or those values one after the other.
Where the model is one of a table, it is a row of that.
MLflow is not imported: this is its protocol only.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from mlplatform.errors import InvalidInputError
from mlplatform.schema_base import ApiModel
from mlplatform.serve.inference.decoded_request import DecodedRequest
from mlplatform.serve.inference.idempotency import idempotency_key
from mlplatform.serve.inference.predict import PredictionService, PredictRequest
from mlplatform.serve.inference.request_decoder import Decoder, ImageDecoder
from mlplatform.serve.inference.request_fields import refuse_subjects, validate_references, validate_tags, validate_text
from mlplatform.serve.inference.row_decoder import RowDecoder
from mlplatform.serve.observability.trace_context import TRACEPARENT
from mlplatform.serve.openapi_examples import ID, PNG, PROBABILITIES, response_example
from mlplatform.serve.schemas import PROBLEM_RESPONSES
from pipelines.inputs.row_parser import ParsedRows

INPUT_FORMATS: Final = ("dataframe_split", "dataframe_records", "inputs", "instances")
ERROR_RESPONSE: Final[dict[str, Any]] = {
    "description": "An error as MLflow's servers tell it",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error_code", "message"],
                "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
            }
        }
    },
}
ERROR_RESPONSES: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys((404, 409, 413, 422, 503), ERROR_RESPONSE)
INPUT_SCHEMA: Final[dict[str, Any]] = {"oneOf": [{"type": "string"}, {"type": "array"}, {"type": "number"}]}
INVOCATIONS_OPENAPI: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "one of dataframe_split, dataframe_records, inputs and instances",
                    "properties": {
                        "dataframe_split": {
                            "type": "object",
                            "required": ["data"],
                            "properties": {
                                "columns": {"type": "array"},
                                "index": {"type": "array"},
                                "data": {"type": "array", "items": {"type": "array", "items": INPUT_SCHEMA}},
                            },
                        },
                        "dataframe_records": {"type": "array", "items": {"type": "object"}},
                        "inputs": {"oneOf": [{"type": "array"}, {"type": "object"}]},
                        "instances": {"type": "array"},
                        "params": {
                            "type": "object",
                            "description": "client_id, request_id, references, subjects, tags",
                        },
                    },
                },
                "example": {
                    "dataframe_split": {"columns": ["image"], "data": [[PNG]]},
                    "params": {"client_id": "till", "tags": {"scanner": "flatbed"}},
                },
            }
        },
    }
}


SCORED_EXAMPLE: Final = {
    "predictions": [
        {"label": "3", "confidence": 0.91, "probabilities": PROBABILITIES, "prediction_id": ID, "model_version": 7}
    ]
}


class ScoredRow(ApiModel):
    """The prediction of one row."""

    label: str
    confidence: float
    probabilities: dict[str, float]
    characters: list[float] = Field([], exclude_if=operator.not_)
    prediction_id: str
    model_version: int


class InvocationsOut(ApiModel):
    """Predictions in the order of the rows."""

    predictions: list[ScoredRow]


def mlflow_router(service: PredictionService, is_ready: Callable[[], bool]) -> APIRouter:
    """GET /ping and /version, POST /invocations."""
    router = APIRouter(tags=["mlflow"], responses=PROBLEM_RESPONSES)

    @router.get("/ping", response_class=PlainTextResponse, responses=response_example("\n", "text/plain"))
    async def ping() -> Response:
        """200 while a model is loaded and the server is not about to end."""
        return PlainTextResponse("\n", 200 if is_ready() else 503)

    @router.get("/version", response_class=PlainTextResponse, responses=response_example("3.17.0", "text/plain"))
    async def version() -> Response:
        """The version of MLflow whose protocol this is."""
        return PlainTextResponse(version_of("mlflow"))

    @router.post(
        "/invocations", openapi_extra=INVOCATIONS_OPENAPI, responses=ERROR_RESPONSES | response_example(SCORED_EXAMPLE)
    )
    async def invocations(request: Request) -> InvocationsOut:
        """Answer the pictures or rows of a frame or tensor; every answer is recorded under its prediction id."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in ("application/json", ""):
            raise InvalidInputError(f"content type {content_type[:40]!r} is not understood; send application/json")
        body = await request.body()
        predict_request = PredictRequest(
            request_id=request.headers.get("x-request-id", ""),
            decode=lambda decoder: decode_invocation(body, decoder),
            idempotency_key=idempotency_key(request),
            traceparent=request.headers.get(TRACEPARENT, ""),
        )
        result = await service.predict(predict_request, body)
        rows = [
            ScoredRow(
                label=row.label,
                confidence=row.confidence,
                probabilities=row.probabilities,
                characters=row.characters,
                prediction_id=row.id,
                model_version=row.model.version,
            )
            for row in result.predictions
        ]
        return InvocationsOut(predictions=rows)

    return router


def decode_invocation(body: bytes, decoder: Decoder) -> DecodedRequest:
    """The pictures or rows, names and tags of a request; raises InvalidInputError naming what does not fit."""
    decoder.check_amounts(body)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the body is not JSON ({error})") from error
    formats = [name for name in INPUT_FORMATS if isinstance(document, dict) and name in document]
    if len(formats) != 1 or set(document) - {formats[0], "params", "signature_name"}:
        raise InvalidInputError(
            f"the body must be an object with exactly one of {', '.join(INPUT_FORMATS)}, and params if any"
        )
    params = document.get("params") or {}
    if not isinstance(params, dict) or set(params) - {"client_id", "request_id", "tags", "references", "subjects"}:
        raise InvalidInputError("params must be an object of client_id, request_id, references, subjects and tags")
    texts = {name: params[name] for name in ("client_id", "request_id") if name in params}
    for name, text in texts.items():
        validate_text(text, name)
    if isinstance(decoder, RowDecoder):
        return decoder.request_of(_table_rows(formats[0], document[formats[0]], decoder), params)
    refuse_subjects(params.get("subjects"))
    rows = _input_rows(formats[0], document[formats[0]])
    pictures = [_normalise_input(row, decoder) for row in rows]
    batch = decoder.decode(pictures)
    references = validate_references(params.get("references"), len(batch))
    return DecodedRequest(batch, texts, validate_tags(params.get("tags")), references)


def _table_rows(form: str, value: Any, decoder: RowDecoder) -> ParsedRows:  # noqa: ANN401 - JSON is any of its types
    """The rows of a frame or of named columns."""
    if form == "dataframe_split":
        if not isinstance(value, dict):
            raise InvalidInputError('dataframe_split must be an object with "columns" and "data"')
        return decoder.read_lists(value.get("columns"), value.get("data"), "data")
    if isinstance(value, dict):
        columns = list(value.values())
        if not columns or not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            raise InvalidInputError(f"{form} must have a list for each column, all of one length")
        rows = [[_single(cell) for cell in row] for row in zip(*columns, strict=True)]
        return decoder.read_lists(list(value), rows, form)
    if isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        return decoder.read_lists([column.name for column in decoder.codec.columns], value, form)
    return decoder.read_objects(value, form)


def _single(cell: object) -> object:
    """A cell without its brackets: a column may be sent as (n, 1)."""
    return cell[0] if isinstance(cell, list) and len(cell) == 1 else cell


def _input_rows(form: str, value: Any) -> Sequence[object]:  # noqa: ANN401 - JSON is any of its types
    """The pictures of a form, each as one cell or as a list of values."""
    if form == "dataframe_split":
        value = value.get("data") if isinstance(value, dict) else None
        if isinstance(value, list) and all(isinstance(row, list) for row in value):
            return [row[0] if len(row) == 1 else row for row in value]
        raise InvalidInputError('dataframe_split must be an object whose "data" is a list of rows')
    if form == "inputs" and isinstance(value, dict):
        if len(value) != 1:
            raise InvalidInputError(f"inputs has {len(value)} tensors; this model takes one")
        [value] = value.values()
    if not isinstance(value, list):
        raise InvalidInputError(f"{form} must be a list of pictures")
    return [_record_value(row) if isinstance(row, Mapping) else row for row in value]


def _record_value(row: Mapping[str, object]) -> object:
    """A record's only value, or all of them in their order."""
    values = list(row.values())
    return values[0] if len(values) == 1 else values


def _normalise_input(row: object, decoder: ImageDecoder) -> object:
    """Values one after the other as rows, and a single channel without its brackets."""
    if isinstance(row, list):
        if len(row) == 1 and isinstance(row[0], list) and decoder.height != 1:
            return row[0]
        if len(row) == decoder.height * decoder.width and not isinstance(row[0], list):
            return [row[start : start + decoder.width] for start in range(0, len(row), decoder.width)]
    return row
