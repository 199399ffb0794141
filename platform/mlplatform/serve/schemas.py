"""What requests and answers look like, as frozen models and OpenAPI; they carry, they do not decide."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel, ModelName


class PredictionOut(ApiModel):
    """One answer. Give feedback by its `id`."""

    id: str
    label: str
    confidence: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    model: ModelName


class PredictOut(ApiModel):
    """Answers in the order of the images. `recorded` is false when the recorder was full."""

    request_id: str
    predictions: list[PredictionOut]
    latency_ms: float
    recorded: bool


class ExplainIn(ApiModel):
    """What to explain: a recorded prediction by its id, or an image (base64 PNG or JPEG, or an array of pixels)."""

    prediction_id: str | None = Field(None, min_length=1, max_length=64, pattern=NO_NUL_PATTERN)
    image: str | list[list[float]] | None = None
    label: str | None = Field(None, max_length=64, description="The class to explain; the model's answer by default.")


class ExplainOut(ApiModel):
    """Where the model looks: `heat` has a row of values from 0 to 1 per row of pixels, `overlay` is a base64 PNG."""

    label: str
    answer: str
    method: str
    heat: list[list[float]]
    overlay: str
    model: ModelName
    prediction_id: str | None


class ReviewOut(ApiModel):
    """A picture to be labelled, without the model's answer; `image` is a base64 PNG, held until `until`."""

    prediction_id: str
    at: datetime
    image: str
    until: datetime


class ReviewMany(ApiModel):
    """What to review next, and the labels to choose from."""

    answers: list[ReviewOut]
    classes: list[str]


class FeedbackMany(ApiModel):
    """Labels for many predictions: all are taken, or none."""

    feedback: list[FeedbackIn] = Field(min_length=1, max_length=1000)


def _one_or_many(body: object) -> str:
    many = "feedback" in body if isinstance(body, dict) else isinstance(body, FeedbackMany)
    return "many" if many else "one"


FeedbackBody = Annotated[
    Annotated[FeedbackIn, Tag("one")] | Annotated[FeedbackMany, Tag("many")], Discriminator(_one_or_many)
]


class FeedbackOut(ApiModel):
    """What became of each label.

    recorded; repeated; superseded: it replaced one; late: kept as history; waiting: its prediction is on its way;
    erased: its prediction was, and nothing was taken.
    """

    id: str
    prediction_id: str
    outcome: Literal["recorded", "repeated", "superseded", "late", "waiting", "erased"]
    counts: bool = Field(False, description="Whether it estimates how good the model is.")
    note: str = Field("", description="Why it does not, and what to do about it.")


class RetrainIn(ApiModel):
    """A wish to retrain."""

    reason: str = Field("asked through the API", max_length=500, pattern=NO_NUL_PATTERN)
    requested_by: str = Field(
        "", max_length=200, pattern=NO_NUL_PATTERN, description="Who asks; the key's holder if empty."
    )


class RetrainOut(ApiModel):
    """The queued retraining; `joined` when one was queued already."""

    id: str
    joined: bool


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}


PREDICT_OPENAPI: dict[str, Any] = {
    "parameters": [
        _header("x-request-id", "names the request where the body does not"),
        _header("x-tensor-dtype", "of a raw tensor: uint8 (default) or float32, little-endian"),
        _header("x-tensor-shape", "of a raw tensor: n,height,width; without it, as many as there are bytes for"),
        _header("x-client-id", "of a raw tensor: who asks"),
        _header("x-tags", "of a raw tensor: a JSON object of names and texts"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "additionalProperties": False,
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "oneOf": [
                                    {"type": "string", "description": "base64 of a PNG or JPEG"},
                                    {
                                        "type": "array",
                                        "description": "rows of grey values from 0 (ground) to 255 (ink)",
                                        "items": {
                                            "type": "array",
                                            "items": {"type": "number", "minimum": 0, "maximum": 255},
                                        },
                                    },
                                ]
                            },
                        },
                        "client_id": {"type": "string", "maxLength": 200},
                        "request_id": {"type": "string", "maxLength": 200},
                        "tags": {
                            "type": "object",
                            "description": "what rules may slice by, such as the scanner or the writer's group",
                            "maxProperties": 10,
                            "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,31}$"},
                            "additionalProperties": {"type": "string", "maxLength": 64},
                        },
                    },
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "client_id": {"type": "string"},
                        "request_id": {"type": "string"},
                        "tags": {"type": "string", "description": "a JSON object of names and texts"},
                    },
                }
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "greys from 0 to 255 row by row, as x-tensor-dtype and x-tensor-shape say",
                }
            },
        },
    },
}

PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "Problem details (RFC 9457)",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    },
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (401, 403, 404, 409, 413, 422, 429, 503), PROBLEM_RESPONSE
)
