"""The JSON of requests and responses that several modules share, as frozen pydantic models, and their OpenAPI."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainSerializer, StringConstraints, Tag, WithJsonSchema

from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel, ModelName

IsoTime = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time written as `datetime.isoformat` does, such as 2026-01-01T12:00:00+00:00."""


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


class PredictIn(ApiModel):
    """The JSON body of POST /v1/predict. It documents: the image codec reads and checks the bytes."""

    images: list[
        Annotated[str, Field(description="base64 of a PNG or JPEG")]
        | Annotated[
            list[list[Annotated[float, Field(ge=0, le=255)]]],
            Field(description="rows of grey values from 0 (ground) to 255 (ink)"),
        ]
    ] = Field(min_length=1)
    client_id: str = Field("", max_length=200)
    request_id: str = Field("", max_length=200)
    tags: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")],
        Annotated[str, StringConstraints(max_length=64)],
    ] = Field({}, max_length=10, description="what rules may slice by, such as the scanner or the writer's group")


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
